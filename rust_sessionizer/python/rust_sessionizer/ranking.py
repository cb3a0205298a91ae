"""Ranks among all items."""

from rust_sessionizer._native import Ranks, ScoreError, rank

__all__ = ["Ranks", "ScoreError", "rank"]
