"""The catalogue: item properties by time, the category tree, and what is told where a shop's files are not what they should be."""

import datetime as dt

import polars as pl

from recsys.catalogue.contract import CATEGORIES_SCHEMA, properties_schema
from recsys.catalogue.lookup import categories_of, item_depths, names, values


def day(number: int) -> dt.datetime:
    return dt.datetime(2025, 1, number, tzinfo=dt.UTC)


PROPERTIES = pl.DataFrame(
    [
        (1, "available", "1", day(1)),
        (1, "available", "0", day(5)),
        (1, "category", "pans", None),
        (1, "name", "Pan", None),
        (1, "name", "Iron pan", day(3)),
        (2, "category", "kitchen", day(2)),
        (2, "category", "gone", day(4)),
        (3, "name", "Bowl", day(9)),
    ],
    schema=properties_schema(pl.Int64()),
    orient="row",
)
CATEGORIES = pl.DataFrame([("kitchen", None, 0), ("pans", "kitchen", 1)], schema=CATEGORIES_SCHEMA, orient="row")


class TestLookup:
    def test_the_latest_name_counts(self):
        assert names(PROPERTIES) == {1: "Iron pan", 3: "Bowl"}
        assert names(PROPERTIES.lazy(), [3, 2, 3]) == {3: "Bowl"}
        assert names(PROPERTIES, []) == {}

    def test_nothing_of_the_future_is_seen(self):
        assert dict(values(PROPERTIES, "name", at=day(2)).iter_rows()) == {1: "Pan"}
        assert dict(values(PROPERTIES, "name", at=day(3)).iter_rows()) == {1: "Iron pan"}
        assert dict(values(PROPERTIES, "available", at=day(4)).iter_rows()) == {1: "1"}
        assert dict(categories_of(PROPERTIES, at=day(2)).iter_rows()) == {1: "pans", 2: "kitchen"}

    def test_the_order_of_the_rows_is_of_no_importance(self):
        assert names(PROPERTIES.reverse()) == names(PROPERTIES)

    def test_depth_is_that_of_the_items_category(self):
        assert item_depths(PROPERTIES, CATEGORIES, at=day(2)).rows() == [(1, "pans", 1), (2, "kitchen", 0)]
        assert item_depths(PROPERTIES, CATEGORIES).rows() == [(1, "pans", 1), (2, "gone", None)]

    def test_a_catalogue_without_rows_gives_nothing(self):
        nothing = PROPERTIES.clear()
        assert names(nothing) == {}
        assert item_depths(nothing, CATEGORIES.clear()).columns == ["item_id", "category", "depth"]
