"""Reading the catalogue: what an item is called, where it belongs and how deep that is, now or at a time of the past."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

import polars as pl


def values(properties: pl.DataFrame | pl.LazyFrame, property: str, at: dt.datetime | None = None) -> pl.DataFrame:
    """Each item's value of a property.

    Parameters
    ----------
    properties : pl.DataFrame or pl.LazyFrame
        `catalogue/properties.parquet`.
    property : str
        name, category, available, or one of the source's own.
    at : datetime, optional
        The instant whose values are wanted, with a time zone: what became known later is not seen. Without it, the latest values.

    Returns
    -------
    pl.DataFrame
        `item_id`, `value`, ordered by item; items without a value have no row.
    """
    rows = properties.lazy().filter(pl.col("property") == property)
    if at is not None:
        rows = rows.filter(pl.col("valid_from").is_null() | (pl.col("valid_from") <= at))
    # What holds always is the oldest of all.
    latest = rows.sort("item_id", "valid_from", nulls_last=False, maintain_order=True).group_by("item_id", maintain_order=True).last()
    return latest.select("item_id", "value").collect()


def names(properties: pl.DataFrame | pl.LazyFrame, items: Iterable[Any] | None = None) -> dict[Any, str]:
    """Latest name by item id, of the given items or of all; an item without a name is not in it."""
    wanted = properties.lazy()
    if items is not None:
        ids = pl.Series("item_id", list(items), dtype=wanted.collect_schema()["item_id"])
        wanted = wanted.join(ids.unique().to_frame().lazy(), on="item_id", how="semi")
    return dict(values(wanted, "name").iter_rows())


def categories_of(properties: pl.DataFrame | pl.LazyFrame, at: dt.datetime | None = None) -> pl.DataFrame:
    """`item_id` and `category` of every item that has one, at the given instant or the latest."""
    return values(properties, "category", at).rename({"value": "category"})


def item_depths(
    properties: pl.DataFrame | pl.LazyFrame, categories: pl.DataFrame | pl.LazyFrame, at: dt.datetime | None = None
) -> pl.DataFrame:
    """How deep in the tree each item's category lies.

    Parameters
    ----------
    properties, categories : pl.DataFrame or pl.LazyFrame
        The catalogue's two tables.
    at : datetime, optional
        As in `values`.

    Returns
    -------
    pl.DataFrame
        `item_id`, `category`, `depth` (0 for a root; null where the tree does not hold the category), ordered by item.
    """
    known = categories.lazy().select("category", "depth").collect()
    return categories_of(properties, at).join(known, on="category", how="left", maintain_order="left")
