"""Ranks among all items, and the best of them."""

from rust_sessionizer._native import ItemIndex, Ranks, ScoreError, rank

__all__ = ["ItemIndex", "Ranks", "ScoreError", "rank"]
