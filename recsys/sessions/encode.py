"""A fit window: the vocabulary and filters of its own training part, and its sessions as indices into that vocabulary."""

from typing import Any

import numpy as np
import polars as pl

import rust_sessionizer
from recsys.checks.finding import enforce
from recsys.checks.unseen import judge_unseen_items
from recsys.errors import DataError
from recsys.sessions.lists import from_flat, keep_clicks
from recsys.sessions.split import Cuts, train_and_held_out
from recsys.settings.checks import UnseenItemsCheck
from recsys.settings.sessions import FilterSettings

WINDOWS = {"select": "valid", "final": "test"}
"""Fit window to the split it is scored on."""


def encode_window(
    sessions: pl.DataFrame,
    catalogue: pl.DataFrame,
    cuts: Cuts,
    window: str,
    filters: FilterSettings,
    protocol: str,
    unseen: UnseenItemsCheck | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """The window's items, training sessions, held-out sessions, and counts after every step.

    Items are indexed by falling support (then by catalogue code), so that index 0 is the most popular one. Held-out sessions lose
    the clicks on items unknown to training, and vanish where fewer than two clicks are left.

    Raises
    ------
    DataError
        If nothing is left to train on or to predict, or more held-out clicks are on new items than `unseen` allows and it says stop.
    """
    counts: dict[str, Any] = {}
    if protocol == "gru4rec":
        sessions = _filter(sessions, filters)
        counts["filtered_before_the_split"] = _count(sessions)
    train, held_out = train_and_held_out(sessions, cuts, window)
    counts["train"], counts[WINDOWS[window]] = _count(train), _count(held_out)
    finding = judge_unseen_items(_codes(train), _codes(held_out), catalogue["item_id"], unseen or UnseenItemsCheck(), WINDOWS[window])
    counts["unseen_items"] = finding.summary()
    enforce([finding])
    before = train
    train = train.filter(pl.col("items").list.len() >= 2) if protocol == "gru4rec" else _filter(train, filters)
    counts["train_filtered"] = _count(train)
    if not train.height:
        raise DataError(
            f"no session is left to train on in the {window} window: of {counts['train']['sessions']:,} sessions with "
            f"{counts['train']['clicks']:,} clicks none passes filter.min_support {filters.min_support} and filter.min_session_length "
            f"{filters.min_session_length}; lower them, or take a longer log"
        )

    support = np.bincount(_codes(train), minlength=catalogue.height)
    known = np.flatnonzero(support)
    codes = known[np.argsort(-support[known], kind="stable")].astype(np.int32)
    index_of = np.full(catalogue.height, -1, dtype=np.int32)
    index_of[codes] = np.arange(len(codes), dtype=np.int32)
    counts["train_clicks_on_items_left_out"] = int((index_of[_codes(before)] < 0).sum())
    items = pl.DataFrame({"index": np.arange(len(codes), dtype=np.int32), "code": codes, "support": support[codes]})
    items = items.with_columns(catalogue["item_id"].gather(codes)).select("index", "code", "item_id", "support")

    train, held_out = _reindex(train, index_of), _reindex(held_out, index_of)
    held_out = held_out.filter(pl.col("items").list.len() >= 2)
    if not held_out.height:
        raise DataError(
            f"the {'validation' if window == 'select' else 'test'} part holds no session with two clicks on items known to training; "
            f"choose a larger split.{WINDOWS[window]} or lower filter.min_support"
        )
    counts["items"] = items.height
    counts[f"{WINDOWS[window]}_known"] = _count(held_out)
    counts["predictions"] = counts[f"{WINDOWS[window]}_known"]["clicks"] - held_out.height
    return items, train, held_out, counts


def _filter(sessions: pl.DataFrame, filters: FilterSettings) -> pl.DataFrame:
    return rust_sessionizer.filter_support(sessions, items="items", min_support=filters.min_support, min_length=filters.min_session_length)


def _codes(sessions: pl.DataFrame) -> np.ndarray:
    return sessions["items"].explode(empty_as_null=False).to_numpy()


def _reindex(sessions: pl.DataFrame, index_of: np.ndarray) -> pl.DataFrame:
    """Catalogue codes to window indices; clicks on unknown items are dropped."""
    indices = index_of[_codes(sessions)]
    lengths = sessions["items"].list.len().to_numpy()
    sessions = sessions.with_columns(from_flat("items", pl.Series(indices, dtype=pl.Int32), lengths))
    return keep_clicks(sessions, indices >= 0).drop("held_out")


def _count(sessions: pl.DataFrame) -> dict[str, int]:
    return {"sessions": sessions.height, "clicks": int(sessions["items"].list.len().sum())}
