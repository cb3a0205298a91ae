"""The category tree: every category's parent and depth, and what is told of a tree that is none."""

from pathlib import Path

import polars as pl

from recsys.catalogue.contract import CATEGORIES_SCHEMA
from recsys.catalogue.texts import text_expression
from recsys.errors import DataError
from recsys.events.sources.files import RawFile, column_name, open_raw, reading
from recsys.events.where import kept_by_where, predicate_of
from recsys.settings.catalogue import CategoryLayout


def read_tree(path: Path, layout: CategoryLayout) -> tuple[pl.DataFrame, list[str]]:
    """The category tree of a file.

    Parameters
    ----------
    path : Path
    layout : CategoryLayout

    Returns
    -------
    categories : pl.DataFrame
        `category`, `parent`, `depth`, ordered by depth and category.
    warnings : list of str
        A sentence for each kind of thing that had to be guessed.

    Raises
    ------
    DataError
        If the file cannot be read, or holds no tree.
    ConfigurationError
        If the layout itself cannot be used.
    """
    raw, pairs = _opened(path, layout)
    with reading(path, raw.format, layout.key):
        found = pairs.collect()
    return rooted(found, path)


def look_into(path: Path, layout: CategoryLayout) -> None:
    """Open a category tree as `read_tree` does and look at its first rows only; errors as there."""
    _opened(path, layout)


def _opened(path: Path, layout: CategoryLayout) -> tuple[RawFile, pl.LazyFrame]:
    """The file, and its wanted rows as `category` and `parent`."""
    key = f"{layout.key}.where"
    predicate, predicate_columns = predicate_of(layout.where, key)
    raw = open_raw(path, layout, [layout.columns.category, layout.columns.parent], predicate_columns)
    category, parent = (text_expression(raw, column_name(column)) for column in (layout.columns.category, layout.columns.parent))
    wanted = raw.table.filter(kept_by_where(raw, layout.where, predicate, predicate_columns, key))
    return raw, wanted.select(category.alias("category"), parent.alias("parent"))


def rooted(pairs: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[str]]:
    """The tree that pairs of `category` and `parent` make; see `read_tree`. `path` is for messages."""
    warnings = []
    nameless = pairs["category"].null_count()
    if nameless:
        warnings.append(f"{path}: {nameless:,} of {pairs.height:,} rows name no category and are left out")
    pairs = pairs.drop_nulls("category").unique(maintain_order=True)
    if not pairs.height:
        raise DataError(f"{path} names no category; correct source.catalogue.categories, or leave it out")
    _refuse_two_parents(pairs, path)

    parented = pairs.filter(pl.col("parent").is_not_null())
    unknown = parented.join(pairs, left_on="parent", right_on="category", how="anti", maintain_order="left")
    if unknown.height:
        category, parent = unknown.row(0)
        warnings.append(
            f"{path}: {unknown.height:,} of {pairs.height:,} categories have a parent without a row of its own (first {category!r}, whose "
            f"parent is {parent!r}) and are taken as roots; add rows for the parents"
        )
        pairs = pairs.with_columns(pl.when(~pl.col("parent").is_in(unknown["parent"].to_list())).then("parent").alias("parent"))

    levels: list[pl.DataFrame] = []
    level = pairs.filter(pl.col("parent").is_null())
    while level.height:
        levels.append(level.with_columns(pl.lit(len(levels), pl.Int32).alias("depth")))
        level = pairs.join(level.select("category"), left_on="parent", right_on="category", how="semi")
    tree = pl.concat(levels) if levels else pairs.clear().with_columns(depth=pl.lit(0, pl.Int32))
    if tree.height < pairs.height:
        raise DataError(_circle(dict(pairs.join(tree, on="category", how="anti", maintain_order="left").iter_rows()), path))
    return tree.select(*CATEGORIES_SCHEMA).sort("depth", "category"), warnings


def _refuse_two_parents(pairs: pl.DataFrame, path: Path) -> None:
    twice = pairs.filter(pl.col("category").is_duplicated())
    if not twice.height:
        return
    category = twice["category"][0]
    parents = " and ".join("none" if parent is None else repr(parent) for parent in twice.filter(category=category)["parent"])
    raise DataError(f"{path}: category {category!r} has several parents ({parents}); a tree has one a category, so keep one of the rows")


def _circle(parent: dict[str, str], path: Path) -> str:
    """What to say of categories none of which leads to a root: the way from one of them back to itself."""
    way, category = [], next(iter(parent))
    while category not in way:
        way.append(category)
        category = parent[category]
    circle = way[way.index(category) :]
    shown = " → ".join([*map(repr, circle[:6]), *(["…"] if len(circle) > 6 else []), repr(category)])
    return f"{path}: categories go round in a circle, each with the next one as its parent ({shown}); empty the parent of the topmost one"
