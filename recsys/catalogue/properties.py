"""Item files to statements about items, in batches, so that a file may be larger than memory."""

import gzip
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from recsys.catalogue.contract import properties_schema
from recsys.catalogue.texts import text_expression
from recsys.errors import DataError
from recsys.events.contract import EARLIEST, LATEST, TIMESTAMP
from recsys.events.ids import id_expression
from recsys.events.sources.files import HEAD_ROWS, ROW, SURPLUS, RawFile, column_name, open_raw, reading
from recsys.events.timestamps import mostly_numbers, timestamp_expression
from recsys.events.where import kept_by_where, predicate_of
from recsys.settings.catalogue import PROPERTY_COLUMNS, ItemLayout

BATCH_ROWS = 1_000_000
MOST_LEFT_OUT = 0.5
"""Share of a file's rows that may be left out before it is refused: a mistake in the layout leaves out nearly all of them."""

_LEFT_OUT = {
    "malformed": ("the line is no JSON object", "check the file"),
    "surplus": ("the row has more fields than the file has columns", "check {key}.separator and the file's quoting"),
    "no_item": ("the item is missing", "check {key}.columns.item, or leave such rows out with {key}.where"),
    "item_type": (
        "the item is no integer, as the log's items are",
        "check {key}.columns.item, or set source.id_types: {{item: string}} for the log",
    ),
    "no_time": ("the timestamp is missing", "check {key}.columns.timestamp"),
    "time": (f"the timestamp cannot be read, or lies before {EARLIEST:%Y} or after {LATEST:%Y}", "check {key}.timestamps"),
}
"""Why a row is left out, in the order in which it is asked, and what can be done about many of them."""


@dataclass
class Tally:
    """How many of a file's rows said something."""

    path: Path
    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)

    def add(self, batch: pl.DataFrame) -> None:
        """Count a batch with the columns `row` and `reason`."""
        self.rows += batch.height
        refused = batch.drop_nulls("reason").group_by("reason").agg(pl.len(), pl.col("row").min().alias("first"))
        for reason, count, row in refused.iter_rows():
            self.left_out[reason] = self.left_out.get(reason, 0) + count
            self.first[reason] = min(self.first.get(reason, row), row)

    def warnings(self, layout: ItemLayout) -> list[str]:
        """A sentence where rows were left out.

        Raises
        ------
        DataError
            If they were most of the file.
        """
        if not self.left_out:
            return []
        total = sum(self.left_out.values())
        reason = max(_LEFT_OUT, key=lambda name: self.left_out.get(name, 0))
        why, remedy = _LEFT_OUT[reason]
        sentence = (
            f"{self.path}: {total:,} of {self.rows:,} rows are left out, most often because {why} ({self.left_out[reason]:,} times, first "
            f"in row {self.first[reason]:,}); {remedy.format(key=layout.key)}"
        )
        if total > MOST_LEFT_OUT * self.rows:
            raise DataError(sentence)
        return [sentence]


def statements_of(path: Path, layout: ItemLayout, item_type: pl.DataType, tally: Tally) -> Iterator[pl.DataFrame]:
    """What a file says about items, batch by batch, in the file's order.

    Parameters
    ----------
    path : Path
    layout : ItemLayout
    item_type : pl.DataType
        Int64 or String: the type of the log's item ids.
    tally : Tally
        Where the rows are counted.

    Yields
    ------
    pl.DataFrame
        `item_id`, `property`, `value`, `valid_from`, a row a property.

    Raises
    ------
    DataError
        If the file cannot be read.
    ConfigurationError
        If the layout itself cannot be used.
    """
    mapped = _mapped(layout)
    with _as_utf8(path, layout) as readable:
        raw, table = _opened(path, readable, layout, item_type)
        with reading(path, raw.format, layout.key):
            for batch in table.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
                tally.add(batch)
                sound = batch.filter(pl.col("reason").is_null())
                yield _a_row_a_property(sound, mapped).select(*properties_schema(item_type)).drop_nulls(["property", "value"])


def look_into(path: Path, layout: ItemLayout) -> None:
    """Open an item file as `statements_of` does and look at its first rows only; errors as there."""
    with _as_utf8(path, layout, HEAD_ROWS) as readable:
        _opened(path, readable, layout, pl.String())


def _mapped(layout: ItemLayout) -> dict[str, str]:
    return {use: column_name(column) for use, column in layout.columns if column is not None}


def _opened(path: Path, readable: Path, layout: ItemLayout, item_type: pl.DataType) -> tuple[RawFile, pl.LazyFrame]:
    """The file, and its wanted rows as `row` and the columns of `_fields`."""
    predicate, predicate_columns = predicate_of(layout.where, f"{layout.key}.where")
    mapped = _mapped(layout)
    raw = replace(open_raw(readable, layout, list(mapped.values()), predicate_columns), path=path)
    table = raw.table.filter(kept_by_where(raw, layout.where, predicate, predicate_columns, f"{layout.key}.where"))
    if "property" in mapped and layout.properties is not None:
        table = table.filter(text_expression(raw, mapped["property"]).is_in(list(layout.properties)))
    return raw, table.select(pl.col(ROW).cast(pl.Int64).alias("row"), *_fields(raw, layout, mapped, item_type))


def _fields(raw: RawFile, layout: ItemLayout, mapped: dict[str, str], item_type: pl.DataType) -> list[pl.Expr]:
    """The columns of a batch: item, time, the reason to leave the row out, and the texts."""
    wanted = "integer" if item_type == pl.Int64 else "string"
    with reading(raw.path, raw.format, layout.key):
        head = raw.table.select(*dict.fromkeys(mapped.values())).head(HEAD_ROWS).collect()
    _, item_given, item = id_expression(raw, mapped["item"], head[mapped["item"]], wanted, f"{layout.key}.columns.item")
    never = pl.lit(False)
    broken = {
        "malformed": pl.col(SURPLUS) if raw.format == "jsonl" else never,
        "surplus": pl.col(SURPLUS).is_not_null() if raw.format in ("csv", "tsv") else never,
        "no_item": ~item_given,
        "item_type": item.is_null(),
    }
    time = pl.lit(None, TIMESTAMP)
    if "timestamp" in mapped:
        name = mapped["timestamp"]
        given, time = timestamp_expression(raw.path, name, raw.schema[name], layout.timestamps, mostly_numbers(head[name]), layout.key)
        time = time.cast(TIMESTAMP)
        broken |= {"no_time": ~given, "time": time.is_null() | (time < EARLIEST) | (time >= LATEST)}
    reason = pl.coalesce(pl.when(broken[name]).then(pl.lit(name)) for name in _LEFT_OUT if name in broken)
    texts = {name: text_expression(raw, mapped[name]) for name in (*PROPERTY_COLUMNS, "property", "value") if name in mapped}
    if "property" in mapped and layout.properties is not None:
        texts["property"] = texts["property"].replace_strict(layout.properties, default=None, return_dtype=pl.String)
    named = {"item_id": item, "valid_from": time, "reason": reason} | texts
    return [expression.alias(name) for name, expression in named.items()]


def _a_row_a_property(rows: pl.DataFrame, mapped: dict[str, str]) -> pl.DataFrame:
    """The statements of sound rows; of a row, first what its columns say, then its property."""
    always = rows.select("item_id", "valid_from")
    tables = [always.with_columns(rows[name].alias("value"), property=pl.lit(name)) for name in PROPERTY_COLUMNS if name in mapped]
    if "property" in mapped:
        tables.append(rows)
    columns = ["item_id", "property", "value", "valid_from"]
    return pl.concat(table.select(columns) for table in tables)


@contextmanager
def _as_utf8(path: Path, layout: ItemLayout, lines: int | None = None) -> Iterator[Path]:
    """The file, or a copy of it (or of its first `lines`) in UTF-8 where it is written in another encoding; it is never changed itself."""
    if layout.encoding == "utf-8" or not path.is_file():
        yield path
        return
    opened = gzip.open if path.suffix == ".gz" else open
    with TemporaryDirectory(prefix="recsys-") as folder:
        copy = Path(folder) / path.name.removesuffix(".gz")
        with (
            reading(path, "csv", layout.key),
            opened(path, "rt", encoding=layout.encoding, newline="") as given,
            copy.open("w", encoding="utf-8", newline="") as taken,
        ):
            if lines is None:
                shutil.copyfileobj(given, taken, 1 << 20)
            else:
                taken.writelines(islice(given, lines))
        yield copy
