"""One raw file to events, quarantine and quality counts, in batches, so that a file may be larger than memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.errors import ConfigurationError, DataError
from recsys.events.contract import EVENT_COLUMNS, OPTIONAL_COLUMNS, REASONS, TIMESTAMP, sort_out
from recsys.events.quality import Quality
from recsys.events.sources.demo_layout import LAYOUT
from recsys.events.sources.files import HEAD_ROWS, LINE, ROW, SURPLUS, RawFile, column_name, open_raw, reading
from recsys.events.timestamps import timestamp_expression
from recsys.files import whole_file, write_json
from recsys.settings.checks import Checks
from recsys.settings.source import DemoSource, FilesSource

BATCH_ROWS = 1_000_000
"""Rows handled at once, and rows a row group of the outputs, so that the outputs do not depend on the machine."""

_IDS = {"item": "item_id", "visitor": "visitor_id", "session": "session"}
_NO_CANONICAL_INTEGER = r"^(?:\+|-?0\d|-0$)"


@dataclass(frozen=True)
class _Fields:
    """The columns of a reading as expressions on the raw table, and the types of the ids."""

    expressions: list[pl.Expr]
    id_types: dict[str, pl.DataType]


def ingest(path: Path, source: DemoSource | FilesSource, checks: Checks, events: Path, quarantine: Path, quality: Path) -> dict:
    """Read one raw file.

    Parameters
    ----------
    path : Path
        The raw file.
    source : DemoSource or FilesSource
        Its layout.
    checks : Checks
        How many refused rows are too many.
    events, quarantine, quality : Path
        What is written: `events` has the columns `visitor_id, session, item_id, event, timestamp` and, where mapped, `value` and
        `quantity`, with the rows in the file's order; `quarantine` has `row` (counted from 1), `reason` and the raw fields as text;
        `quality` holds the counts.

    Returns
    -------
    dict
        The content of `quality`.

    Raises
    ------
    DataError
        If the file cannot be read, or more rows are refused than `checks` allows and it says stop.
    ConfigurationError
        If the layout itself cannot be used.
    """
    layout = LAYOUT if isinstance(source, DemoSource) else source
    mapped = {field: column for field, column in layout.columns if column is not None}
    predicate, predicate_columns = _predicate(layout.where)
    raw = open_raw(path, layout, list(mapped.values()), predicate_columns)
    fields = _fields(raw, layout, mapped)
    shown = _raw_fields(raw, [column_name(column) for column in mapped.values()], predicate_columns)
    table = raw.table.with_columns(_kept_by_where(raw, layout.where, predicate, predicate_columns).alias("__kept"))
    table = table.select("__kept", *fields.expressions, *shown)

    optional = [column for column in OPTIONAL_COLUMNS if column in mapped]
    columns = [*EVENT_COLUMNS, *optional]
    arrow = {pl.Int64(): pa.int64(), pl.String(): pa.large_string()}
    types = {column: arrow[fields.id_types[column]] for column in ("visitor_id", "session", "item_id")}
    types |= {"event": pa.large_string(), "timestamp": pa.timestamp("ms", tz="UTC")} | dict.fromkeys(optional, pa.float64())
    raw_names = [expression.meta.output_name() for expression in shown]
    quarantine_names = _own_names(raw_names)
    refused_types = {"row": pa.int64(), "reason": pa.large_string()} | dict.fromkeys(quarantine_names, pa.large_string())

    counts = Quality(part=events.name.removesuffix(".parquet"), file=path.name)
    with (
        whole_file(events) as events_partial,
        whole_file(quarantine) as quarantine_partial,
        pq.ParquetWriter(events_partial, pa.schema([(name, types[name]) for name in columns]), compression="zstd") as events_writer,
        pq.ParquetWriter(quarantine_partial, pa.schema(list(refused_types.items())), compression="zstd") as quarantine_writer,
    ):
        for batch in _batches(raw, table):
            wanted = batch.filter("__kept")
            kept, refused = sort_out(wanted.drop("__kept", *raw_names))
            kept = kept.select(columns)
            if kept.height:
                events_writer.write_table(kept.to_arrow().cast(events_writer.schema))
            if refused.height:
                reason = pl.col("rule").replace_strict(REASONS, return_dtype=pl.String).alias("reason")
                lines = refused.join(wanted.select("row", *raw_names), on="row", how="left", maintain_order="left")
                lines = lines.select("row", reason, *(pl.col(old).alias(new) for old, new in zip(raw_names, quarantine_names, strict=True)))
                quarantine_writer.write_table(lines.to_arrow().cast(quarantine_writer.schema))
            counts.add(rows=batch.height, left_out=batch.height - wanted.height, kept=kept, refused=refused)
        counts.check(checks, path)
    summary = counts.summary(checks)
    write_json(quality, summary)
    return summary


def _batches(raw: RawFile, table: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    with reading(raw.path, raw.format):
        yield from table.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)


def _predicate(where: str | None) -> tuple[pl.Expr | None, list[str]]:
    if where is None:
        return None, []
    try:
        predicate = pl.sql_expr(where)
        return predicate, list(dict.fromkeys(predicate.meta.root_names()))
    except pl.exceptions.PolarsError as error:
        raise ConfigurationError(f"source.where: {where!r} is no SQL expression: {str(error).splitlines()[0]}") from None


def _kept_by_where(raw: RawFile, where: str | None, predicate: pl.Expr | None, columns: list[str]) -> pl.Expr:
    """Whether a row is wanted; the columns of text formats are compared as what they look like."""
    if predicate is None:
        return pl.lit(True)
    typed = {}
    for column in columns:
        look, given = raw.inferred[column], pl.col(column)
        if raw.schema[column] == look or look.is_nested():
            continue
        typed[column] = given.str.to_lowercase() == "true" if look == pl.Boolean else given.str.strip_chars().cast(look, strict=False)
    with reading(raw.path, raw.format):
        # Named apart, since the raw texts are still needed beside the typed columns.
        sample = raw.table.select(typed.get(column, pl.col(column)).alias(column) for column in columns).collect_schema()
        try:
            kind = pl.DataFrame(schema=sample).lazy().select(predicate).collect().dtypes[0]
        except pl.exceptions.PolarsError as error:
            found = ", ".join(f"{name} {dtype}" for name, dtype in sample.items())
            reason = str(error).splitlines()[0]
            raise ConfigurationError(
                f"source.where: {where!r} does not fit the columns ({found}): {reason}; use CAST where types differ"
            ) from None
    if kind != pl.Boolean:
        raise ConfigurationError(f"source.where: {where!r} gives {kind}, not true or false; write a comparison")
    packed = pl.struct(typed.get(column, pl.col(column)).alias(column) for column in columns)
    return packed.map_batches(lambda series: series.struct.unnest().select(predicate.fill_null(False)).to_series(), return_dtype=pl.Boolean)


def _raw_fields(raw: RawFile, mapped: list[str], predicate_columns: list[str]) -> list[pl.Expr]:
    """The file's own fields as text, named so that they do not meet the contract's."""
    names = list(dict.fromkeys([*mapped, *predicate_columns, *([LINE] if raw.format == "jsonl" else [])]))
    return [_as_text(name, raw.schema.get(name, pl.String())).alias(f"raw:{name}") for name in names]


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return pl.lit(f"({dtype})")
    return pl.col(name).cast(pl.String, strict=False)


def _own_names(raw_names: list[str]) -> list[str]:
    taken, names = {"row", "reason"}, []
    for raw_name in raw_names:
        name = raw_name.removeprefix("raw:")
        while name in taken:
            name += "_"
        taken.add(name)
        names.append(name)
    return names


def _fields(raw: RawFile, layout: FilesSource, mapped: dict[str, str | int]) -> _Fields:
    names = {field: column_name(column) for field, column in mapped.items()}
    with reading(raw.path, raw.format):
        head = raw.table.select(*dict.fromkeys(names.values())).head(HEAD_ROWS).collect()
    expressions = [pl.col(ROW).cast(pl.Int64).alias("row")]
    never, always, nothing = pl.lit(False), pl.lit(True), pl.lit(None)
    surplus = pl.col(SURPLUS) if raw.format == "jsonl" else never
    expressions += [surplus.alias("malformed")]
    expressions += [(pl.col(SURPLUS).is_not_null() if raw.format in ("csv", "tsv") else never).alias("surplus")]

    id_types: dict[str, pl.DataType] = {}
    for field, target in _IDS.items():
        if field not in names:
            id_types[target] = pl.Int64()
            expressions += [never.alias(f"{field}_given"), nothing.cast(pl.Int64).alias(target)]
            continue
        wanted = layout.id_types.get(field, "auto")
        id_types[target], given, value = _id(raw, names[field], head[names[field]], wanted, field)
        expressions += [given.alias(f"{field}_given"), value.alias(target)]
    expressions.append(pl.lit("session" in names).alias("sessionized"))

    name = names["timestamp"]
    numbers = _mostly_numbers(head[name])
    given, value = timestamp_expression(raw.path, name, raw.schema[name], layout.timestamps, numbers)
    expressions += [given.alias("timestamp_given"), value.cast(TIMESTAMP).alias("timestamp")]

    if "event" in names:
        text = pl.col(names["event"]).cast(pl.String)
        value = text if layout.event_map is None else text.replace_strict(layout.event_map, default=None, return_dtype=pl.String)
        expressions += [_filled(text).alias("event_given"), value.alias("event")]
    else:
        expressions += [always.alias("event_given"), pl.lit(layout.default_event).alias("event")]

    for field in OPTIONAL_COLUMNS:
        if field in names:
            given, value = _number(raw, names[field], field)
        else:
            given, value = never, nothing.cast(pl.Float64)
        expressions += [given.alias(f"{field}_given"), value.alias(field)]
    return _Fields(expressions, id_types)


def _filled(text: pl.Expr) -> pl.Expr:
    return text.str.strip_chars().str.len_bytes().fill_null(0) > 0


def _mostly_numbers(head: pl.Series) -> bool:
    if head.dtype != pl.String:
        return False
    texts = head.drop_nulls().str.strip_chars()
    return bool(len(texts)) and texts.cast(pl.Float64, strict=False).is_not_null().sum() * 2 > len(texts)


def _number(raw: RawFile, name: str, field: str) -> tuple[pl.Expr, pl.Expr]:
    """Whether a number is given, and the number; NaN, which stands for a missing one in many files, is none."""
    dtype, column = raw.schema[name], pl.col(name)
    if dtype == pl.String:
        number = column.str.strip_chars().cast(pl.Float64, strict=False)
        given = _filled(column) & number.is_not_nan().fill_null(True)
    elif dtype.is_numeric():
        number = column.cast(pl.Float64)
        given = number.is_not_nan().fill_null(False)
    else:
        raise DataError(
            f"{raw.path}: column {name!r} is of type {dtype}, which is no number; map source.columns.{field} to a column of numbers"
        )
    return given, pl.when(number.is_finite()).then(number)


def _id(raw: RawFile, name: str, head: pl.Series, wanted: str, field: str) -> tuple[pl.DataType, pl.Expr, pl.Expr]:
    """The type of an id, whether it is given, and what it is."""
    dtype, column = raw.schema[name], pl.col(name)
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Decimal):
        column, head, dtype = column.cast(pl.String), head.cast(pl.String), pl.String()
    if dtype == pl.String:
        looks = raw.inferred[name] if raw.format == "jsonl" else None
        whole = _whole_number(column, wanted)
        integer = wanted == "integer" or (wanted == "auto" and _texts_are_integers(head, looks))
        if integer and wanted == "auto" and looks is not None and looks.is_float():
            whole = _whole_number(column, "integer")
        given = _filled(column)
        return (pl.Int64(), given, pl.when(given).then(whole)) if integer else (pl.String(), given, pl.when(given).then(column))
    if dtype.is_integer():
        as_text = wanted == "string"
        value = column.cast(pl.String) if as_text else column.cast(pl.Int64, strict=False)
        return (pl.String() if as_text else pl.Int64()), column.is_not_null(), value
    if dtype.is_float():
        # Integers with missing values often come as floats.
        given = column.is_not_nan().fill_null(False)
        whole = pl.when(column % 1 == 0).then(column.cast(pl.Int64, strict=False))
        present = head.drop_nulls().drop_nans()
        if wanted == "integer" or (wanted == "auto" and bool((present % 1 == 0).all())):
            return pl.Int64(), given, pl.when(given).then(whole)
        return pl.String(), given, pl.when(given).then(pl.coalesce(whole.cast(pl.String), column.cast(pl.String)))
    raise DataError(f"{raw.path}: column {name!r} is of type {dtype}, which is no id; map source.columns.{field} to integers or texts")


def _whole_number(text: pl.Expr, wanted: str) -> pl.Expr:
    """The integer a text stands for; null for `007` and `+7`, which would not be the same id any more."""
    trimmed = text.str.strip_chars()
    if wanted == "integer":
        trimmed = trimmed.str.strip_suffix(".0")
    return pl.when(~trimmed.str.contains(_NO_CANONICAL_INTEGER)).then(trimmed.cast(pl.Int64, strict=False))


def _texts_are_integers(head: pl.Series, looks: pl.DataType | None) -> bool:
    """By the first rows: whether every text is an integer; in JSON, whether they are numbers and not texts."""
    if looks is not None and not looks.is_numeric():
        return looks == pl.Null
    kind = "integer" if looks is not None else "auto"
    texts = head.drop_nulls().to_frame("id").filter(_filled(pl.col("id")))
    return bool(texts.select(_whole_number(pl.col("id"), kind).is_not_null().all()).item())
