"""What the catalogue's two tables are: item properties by time, and the category tree."""

import polars as pl

from recsys.events.contract import TIMESTAMP

PROPERTIES = ("name", "category", "available")
"""Properties of the contract; a source may add others."""


def properties_schema(item_type: pl.DataType) -> dict[str, pl.DataType]:
    """Columns of `properties.parquet`, ordered by item, property and time; `item_type` is that of the log's item ids.

    A row says that `value` holds from `valid_from` on, until the item's next row of that property; null is always. Rows that repeat the
    value before them are left out.
    """
    return {"item_id": item_type, "property": pl.String(), "value": pl.String(), "valid_from": TIMESTAMP}


CATEGORIES_SCHEMA: dict[str, pl.DataType] = {"category": pl.String(), "parent": pl.String(), "depth": pl.Int32()}
"""Columns of `categories.parquet`, ordered by depth and category; a root has no parent and depth 0. No row where no tree is known."""
