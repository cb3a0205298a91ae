"""Session-kNN."""

from rust_sessionizer._native import Index, IndexFileError, Parameters

__all__ = ["Index", "IndexFileError", "Parameters"]
