"""GRU4Rec's training on the CPU."""

from rust_sessionizer._native import Trainer

__all__ = ["Trainer"]
