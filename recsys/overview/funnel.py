"""From a look to a purchase: how many visitors, sessions and items reach each step."""

from typing import Any

import numpy as np
import polars as pl

from recsys.overview.log import Ordered
from recsys.settings.source import EVENT_TYPES


def funnel(ordered: Ordered, names: list[str], catalogue: pl.DataFrame, gap: int | None) -> dict[str, Any] | None:
    """Visitors, sessions and items with at least one event of each type, in the order view, cart, purchase.

    Parameters
    ----------
    ordered
    names
        Event types by code.
    catalogue
        A row an item, with a count an event type.
    gap
        Milliseconds; a longer pause starts a session. None: the log has sessions of its own.

    Returns
    -------
    dict or None
        None where the log has fewer than two of the three types.
    """
    steps = [kind for kind in EVENT_TYPES if kind in catalogue.columns]
    if len(steps) < 2:
        return None
    codes = [names.index(kind) for kind in steps]
    owners = {"sessions": ordered.sessions(gap)}
    if ordered.visitor is not None:
        owners = {"visitors": pl.Series(ordered.visitor).rank("dense").to_numpy().astype(np.int64) - 1} | owners
    reached = {name: _reached(owner, ordered.event, codes) for name, owner in owners.items()}
    reached["items"] = [int((catalogue[kind] > 0).sum()) for kind in steps]
    every = {name: int(owner.max()) + 1 for name, owner in owners.items()} | {"items": catalogue.height}
    return {"steps": steps, "reached": reached, "all": every}


def _reached(owner: np.ndarray, event: np.ndarray, codes: list[int]) -> list[int]:
    """How many different owners have an event of each code."""
    counts = []
    for code in codes:
        seen = np.zeros(int(owner.max()) + 1, dtype=bool)
        seen[owner[event == code]] = True
        counts.append(int(seen.sum()))
    return counts
