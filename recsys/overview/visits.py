"""Sessions and visitors: how long, how often, with which pauses, and what is clicked again."""

from typing import Any

import numpy as np
import polars as pl

from recsys.overview.log import Ordered
from recsys.overview.spread import growing_bins, spread
from recsys.sessions.table import Sessions

SECOND = 1_000
LAST_POSITION = 30
"""Clicks of a session that are looked at one by one."""
VISITS = ("1", "2", "3", "4", "5–9", "10 or more")
_VISIT_EDGES = (1, 2, 3, 4, 5, 10)


def session_lengths(sessions: Sessions) -> dict[str, Any]:
    """Clicks a session: how many sessions there are of each length, and their spread."""
    lengths, number = np.unique(sessions.lengths, return_counts=True)
    return {
        "sessions": len(sessions),
        "clicks": len(sessions.items),
        "lengths": lengths.tolist(),
        "sessions_of_length": number.tolist(),
        "of_one_click_share": round(float((sessions.lengths == 1).mean()), 6),
        "spread": spread(sessions.lengths),
    }


def pauses(ordered: Ordered, gap: int | None) -> dict[str, Any] | None:
    """Seconds between two events of a visitor that follow each other (of a session, in logs that are sessionized).

    Parameters
    ----------
    ordered
    gap
        Milliseconds; a longer pause starts a session. None: the log has sessions of its own.

    Returns
    -------
    dict or None
        None where no event follows another.
    """
    found = ordered.pauses()
    if not len(found):
        return None
    seconds = found / SECOND
    return {
        "pauses": len(found),
        "of": "session" if gap is None else "visitor",
        "spread_seconds": spread(seconds),
        "none_share": round(float((found == 0).mean()), 6),
        "gap_seconds": None if gap is None else gap / SECOND,
        "longer_than_gap_share": None if gap is None else round(float((found > gap).mean()), 6),
        "histogram_seconds": growing_bins(seconds, lowest=1.0),
    }


def repeats(sessions: Sessions) -> dict[str, Any]:
    """Clicks on an item that was clicked before in the same session, in all and by place in the session."""
    again = clicked_before(sessions)
    place = np.arange(len(sessions.items)) - np.repeat(sessions.offsets[:-1], sessions.lengths)
    shown = (place >= 1) & (place < LAST_POSITION)
    clicks = np.bincount(place[shown], minlength=LAST_POSITION)[1:]
    repeated = np.bincount(place[shown], weights=again[shown], minlength=LAST_POSITION)[1:]
    # A share of a handful of clicks says nothing.
    enough = int((clicks >= 30).argmin()) if (clicks < 30).any() else len(clicks)
    sessions_with = np.zeros(len(sessions), dtype=bool)
    sessions_with[np.repeat(np.arange(len(sessions)), sessions.lengths)[again]] = True
    return {
        "clicks": int(again.sum()),
        "share_of_clicks": round(float(again.mean()), 6),
        "share_of_sessions": round(float(sessions_with.mean()), 6),
        "position": list(range(2, enough + 2)),
        "share_at_position": np.round(repeated[:enough] / clicks[:enough], 6).tolist(),
    }


def clicked_before(sessions: Sessions) -> np.ndarray:
    """bool [C]: whether the item of each click was clicked before in its session."""
    items = int(sessions.items.max(initial=0)) + 1
    key = np.repeat(np.arange(len(sessions), dtype=np.int64), sessions.lengths) * items + sessions.items
    order = np.argsort(key, kind="stable")
    again = np.zeros(len(key), dtype=bool)
    again[order[1:]] = key[order[1:]] == key[order[:-1]]
    return again


def returning(visitors: pl.Series) -> dict[str, Any] | None:
    """Sessions a visitor (`visitors`: one entry a session); None where sessions have no visitors."""
    if visitors.null_count() == len(visitors):
        return None
    sessions = visitors.drop_nulls().value_counts()["count"].to_numpy().astype(np.int64)
    group = np.searchsorted(_VISIT_EDGES, sessions, side="right") - 1
    return {
        "visitors": len(sessions),
        "spread": spread(sessions),
        "returning_visitors_share": round(float((sessions > 1).mean()), 6),
        "later_sessions_share": round(1 - len(sessions) / int(sessions.sum()), 6),
        "groups": list(VISITS),
        "visitors_share": np.round(np.bincount(group, minlength=len(VISITS)) / len(sessions), 6).tolist(),
        "sessions_share": np.round(np.bincount(group, weights=sessions, minlength=len(VISITS)) / sessions.sum(), 6).tolist(),
    }
