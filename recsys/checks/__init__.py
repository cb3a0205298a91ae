"""Batch checks of an event log, one concern a file; row rules are in `recsys.events.contract`."""
