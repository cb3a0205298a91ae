"""From a shop's event log to a served next-item recommender."""

__version__ = "0.1.0"
