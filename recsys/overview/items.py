"""Items: how the clicks spread over them, when they appear, how deep their categories go."""

from typing import Any

import numpy as np
import polars as pl

from recsys.catalogue.lookup import item_depths
from recsys.overview.spread import at_least, spread, thinned
from recsys.overview.timeline import Timeline
from recsys.sessions.table import Sessions

TOP_SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of the items, the most clicked first, whose share of the clicks is named."""


def popularity(sessions: Sessions, items: int) -> dict[str, Any]:
    """Clicks by rank, and the share of the clicks that the most clicked items get; `items` is the size of the catalogue."""
    clicks = np.sort(np.bincount(sessions.items, minlength=items))[::-1]
    clicked = clicks[clicks > 0]
    share = np.cumsum(clicked) / clicked.sum()
    kept = thinned(len(clicked))
    top = {f"{part:g}": round(float(share[max(1, round(part * len(clicked))) - 1]), 6) for part in TOP_SHARES}
    return {
        "items_clicked": len(clicked),
        "spread": spread(clicked),
        "rank": (kept + 1).tolist(),
        "clicks_at_rank": clicked[kept].tolist(),
        "share_of_clicks_to_rank": np.round(share[kept], 6).tolist(),
        "share_of_clicks_of_top": top,
        "gini": round(float(2 * share.mean() - 1 - 1 / len(clicked)), 6),
    }


def arrivals(first_seen: pl.Series, timeline: Timeline) -> list[int]:
    """Items that are seen for the first time, in each step of time."""
    return timeline.count(first_seen.cast(pl.Int64).to_numpy())


def sparsity(sessions: Sessions, visitors: pl.Series, items: int) -> dict[str, Any]:
    """How many of the pairs of visitor and item (or session and item, in logs without visitors) there are, and clicks of each.

    Parameters
    ----------
    sessions
    visitors
        One entry a session.
    items
        Size of the catalogue.
    """
    known = visitors.null_count() < len(visitors)
    who = visitors.rank("dense").fill_null(0).to_numpy().astype(np.int64) if known else np.arange(len(sessions), dtype=np.int64)
    clicking = np.repeat(who, sessions.lengths)
    pairs = np.unique(clicking * items + sessions.items).size
    rows = np.unique(who).size
    clicks_of_items = np.bincount(sessions.items, minlength=items)
    clicks_of_rows = np.bincount(clicking)
    named = "visitor" if known else "session"
    return {
        "of": named,
        "rows": rows,
        "items": items,
        "pairs": pairs,
        "density": float(f"{pairs / (rows * items):.6g}"),
        "item": at_least(clicks_of_items[clicks_of_items > 0]) | {"spread": spread(clicks_of_items[clicks_of_items > 0])},
        named: at_least(clicks_of_rows[clicks_of_rows > 0]) | {"spread": spread(clicks_of_rows[clicks_of_rows > 0])},
    }


def category_depth(categories: pl.DataFrame, properties: pl.LazyFrame, item_ids: pl.Series) -> dict[str, Any] | None:
    """Categories by depth in their tree (0: a root), and the items whose latest category lies there.

    Parameters
    ----------
    categories
        `category`, `parent`, `depth`.
    properties
        `item_id`, `property`, `value`, `valid_from`.
    item_ids
        The items of the log.

    Returns
    -------
    dict or None
        None where the source has no category tree.
    """
    if not categories.height:
        return None
    log = pl.LazyFrame({"item_id": item_ids})
    placed = item_depths(properties.join(log, on="item_id", how="semi"), categories)
    depths = np.arange(int(categories["depth"].max()) + 1)
    return {
        "depth": depths.tolist(),
        "categories": np.bincount(categories["depth"].to_numpy(), minlength=len(depths)).tolist(),
        "items": np.bincount(placed["depth"].drop_nulls().to_numpy(), minlength=len(depths)).tolist(),
        "items_outside_the_tree": int(placed["depth"].null_count()),
        "items_without_category": len(item_ids) - placed.height,
    }
