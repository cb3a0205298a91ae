"""GRU4Rec's states on the CPU."""

from rust_sessionizer._native import Network

__all__ = ["Network"]
