"""From a source's item files and category tree to the catalogue's two tables."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.catalogue.contract import CATEGORIES_SCHEMA, properties_schema
from recsys.catalogue.properties import Tally, statements_of
from recsys.catalogue.statements import Statements
from recsys.catalogue.tree import read_tree
from recsys.errors import DataError
from recsys.files import whole_file, write_parquet
from recsys.settings.catalogue import CategoryLayout, ItemLayout

ItemFile = tuple[Path, ItemLayout]
CategoryFile = tuple[Path, CategoryLayout]


def build_catalogue(
    items: Sequence[ItemFile], tree: CategoryFile | None, events: Path, properties: Path, categories: Path
) -> tuple[dict[str, int], list[str]]:
    """Write the catalogue.

    Parameters
    ----------
    items : sequence of (Path, ItemLayout)
        Item files; of what they say of an item's property at one instant, the last row of the last file holds.
    tree : (Path, CategoryLayout), optional
        The category tree.
    events : Path
        A part of the log's events: the catalogue's item ids get the type that the log's have.
    properties, categories : Path
        What is written; see `recsys.catalogue.contract`.

    Returns
    -------
    counts : dict
        `properties`, `items`, `categories`; of the part, `log_items` and how many of them are known.
    warnings : list of str
        A sentence for each kind of thing that was left out or guessed.

    Raises
    ------
    DataError
        If a file cannot be read, the tree is none, or none of the log's items is among the items.
    ConfigurationError
        If a layout itself cannot be used.
    """
    log_items = pl.scan_parquet(events, glob=False).select(pl.col("item_id").unique()).collect()
    table, told = read_tree(*tree) if tree else (pl.DataFrame(schema=CATEGORIES_SCHEMA), [])
    with whole_file(properties) as partial:
        told += _write_properties(items, log_items.schema["item_id"], partial)
        written = pl.scan_parquet(partial, glob=False)
        known = written.select(pl.col("item_id").unique()).collect()
        counts = {
            "properties": written.select(pl.len()).collect().item(),
            "items": known.height,
            "categories": table.height,
            "log_items": log_items.height,
            "log_items_known": log_items.join(known, on="item_id", how="semi").height,
        }
        _refuse_strangers(items, counts, log_items)
        told += _outside_the_tree(written, table, tree)
        write_parquet(table, categories)
    return counts, told


def _write_properties(items: Sequence[ItemFile], item_type: pl.DataType, path: Path) -> list[str]:
    """What the files say, one table; the warnings."""
    told: list[str] = []
    types = {pl.Int64(): pa.int64(), pl.String(): pa.large_string(), pl.Datetime("ms", "UTC"): pa.timestamp("ms", tz="UTC")}
    schema = pa.schema([(name, types[dtype]) for name, dtype in properties_schema(item_type).items()])
    with _scratch(path) as folder, pq.ParquetWriter(path, schema, compression="zstd") as writer:
        statements = Statements(folder)
        for file, layout in items:
            tally = Tally(file)
            for batch in statements_of(file, layout, item_type, tally):
                statements.add(batch)
            told += tally.warnings(layout)
        for changes in statements.changes():
            if changes.height:
                writer.write_table(changes.to_arrow().cast(schema))
    return told


def _refuse_strangers(items: Sequence[ItemFile], counts: dict[str, int], log_items: pl.DataFrame) -> None:
    """Stop where the files speak of other items than the log."""
    if not items or not counts["log_items"] or counts["log_items_known"]:
        return
    path, layout = items[0]
    if not counts["items"]:
        raise DataError(f"{path} says nothing about any item; correct {layout.key}.columns, or {layout.key}.where")
    kind = "integers" if log_items.schema["item_id"] == pl.Int64 else "texts"
    example = log_items["item_id"].sort()[0]
    raise DataError(
        f"{path}: none of its {counts['items']:,} items is among the {counts['log_items']:,} items of the log, whose ids are {kind} such "
        f"as {example!r}; correct {layout.key}.columns.item"
    )


def _outside_the_tree(properties: pl.LazyFrame, tree: pl.DataFrame, file: CategoryFile | None) -> list[str]:
    """A sentence where items belong to categories that the tree lacks."""
    if file is None:
        return []
    named = properties.filter(pl.col("property") == "category").group_by("value").agg(pl.col("item_id").n_unique().alias("items")).collect()
    outside = named.join(tree, left_on="value", right_on="category", how="anti").sort("items", "value", descending=[True, False])
    if not outside.height:
        return []
    category, count = outside.row(0)
    return [
        f"{file[0]}: {outside.height:,} of the {named.height:,} categories of items are not in the tree (first {category!r}, of {count:,} "
        "items), so that their depth is not known; add rows for them"
    ]


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`, named as partial files are, so that one that a killed process left is removed with them."""
    folder = path.with_name(f"{path.name.removesuffix('.partial').rpartition('.')[0]}.scratch.{os.getpid()}.partial")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
