"""One raw file to events, quarantine and quality counts, in batches, so that a file may be larger than memory."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.checks.finding import enforce
from recsys.errors import DataError
from recsys.events.contract import EARLIEST, EVENT_COLUMNS, FIELDS, OPTIONAL_COLUMNS, REASONS, TIMESTAMP, sort_out
from recsys.events.ids import filled, id_expression
from recsys.events.quality import Quality
from recsys.events.sources.files import HEAD_ROWS, LINE, ROW, SURPLUS, RawFile, column_name, open_raw, reading
from recsys.events.timestamps import mostly_numbers, timestamp_expression
from recsys.events.where import kept_by_where, predicate_of
from recsys.files import whole_file, write_json
from recsys.settings.checks import Checks
from recsys.settings.source import FilesSource

BATCH_ROWS = 1_000_000
"""Rows handled at once, and rows a row group of the outputs, so that the outputs do not depend on the machine."""

_IDS = {"item": "item_id", "visitor": "visitor_id", "session": "session"}


@dataclass(frozen=True)
class _Opened:
    """A raw file, and how its rows are read."""

    raw: RawFile
    fields: "_Fields"
    kept: pl.Expr
    predicate_columns: list[str]


@dataclass(frozen=True)
class _Fields:
    """The columns of a reading as expressions on the raw table, and the types of the ids."""

    expressions: list[pl.Expr]
    id_types: dict[str, pl.DataType]


def ingest(path: Path, layout: FilesSource, checks: Checks, events: Path, quarantine: Path, quality: Path, dated: bool = True) -> dict:
    """Read one raw file.

    Parameters
    ----------
    path : Path
        The raw file.
    layout : FilesSource
        How it is laid out.
    checks : Checks
        How many refused rows are too many, and how much later than its file an event may be.
    events, quarantine, quality : Path
        What is written: `events` has the columns `visitor_id, session, item_id, event, timestamp` and, where mapped, `value` and
        `quantity`, with the rows in the file's order; `quarantine` has `row` (counted from 1), `reason` and the raw fields as text;
        `quality` holds the counts.

    dated : bool, optional
        Whether the file's own date says when its events were over; a generated log's does not.

    A file is read alike whenever it is read: what lies in the future is told by the file's own date, not by the clock.

    Returns
    -------
    dict
        The content of `quality`.

    Raises
    ------
    DataError
        If the file cannot be read, or more rows are refused than `checks` allows and it says stop; with a sentence a failed check.
    ConfigurationError
        If the layout itself cannot be used.
    """
    mapped = _mapped(layout)
    latest = _latest_believed(path, checks) if dated and path.exists() else None
    opened = _opened(path, layout, latest)
    raw, fields = opened.raw, opened.fields
    shown = _raw_fields(raw, [column_name(column) for column in mapped.values()], opened.predicate_columns)
    table = raw.table.with_columns(opened.kept.alias("__kept")).select("__kept", *fields.expressions, *shown)

    optional = [column for column in OPTIONAL_COLUMNS if column in mapped]
    columns = [*EVENT_COLUMNS, *optional]
    arrow = {pl.Int64(): pa.int64(), pl.String(): pa.large_string()}
    types = {column: arrow[fields.id_types[column]] for column in ("visitor_id", "session", "item_id")}
    types |= {"event": pa.large_string(), "timestamp": pa.timestamp("ms", tz="UTC")} | dict.fromkeys(optional, pa.float64())
    raw_names = [expression.meta.output_name() for expression in shown]
    quarantine_names = _own_names(raw_names)
    refused_types = {"row": pa.int64(), "reason": pa.large_string()} | dict.fromkeys(quarantine_names, pa.large_string())

    counts = Quality(part=events.name.removesuffix(".parquet"), file=path.name, latest_believed=latest)
    event_field = None if layout.columns.event is None else f"raw:{column_name(layout.columns.event)}"
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
            unknown, refused = None, refused.with_columns(field=pl.lit(None, pl.String))
            if refused.height:
                reason = pl.col("rule").replace_strict(REASONS, return_dtype=pl.String).alias("reason")
                lines = refused.join(wanted.select("row", *raw_names), on="row", how="left", maintain_order="left")
                if event_field is not None:
                    unknown = lines.filter(pl.col("rule") == "event_is_known")[event_field]
                refused = lines.select("row", "rule", _field_at_fault(mapped).alias("field"))
                lines = lines.select("row", reason, *(pl.col(old).alias(new) for old, new in zip(raw_names, quarantine_names, strict=True)))
                quarantine_writer.write_table(lines.to_arrow().cast(quarantine_writer.schema))
            counts.add(rows=batch.height, left_out=batch.height - wanted.height, kept=kept, refused=refused, unknown=unknown)
        summary, findings = counts.summary(checks, str(path))
        enforce(findings)
    write_json(quality, summary)
    return summary


def look_into(path: Path, layout: FilesSource) -> None:
    """Open a raw file as `ingest` does and look at its first rows only.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column, or has one of a type that cannot be used.
    ConfigurationError
        If the layout itself cannot be used.
    """
    _opened(path, layout, None)


def _mapped(layout: FilesSource) -> dict[str, str | int]:
    return {field: column for field, column in layout.columns if column is not None}


def _opened(path: Path, layout: FilesSource, latest: dt.datetime | None) -> _Opened:
    mapped = _mapped(layout)
    predicate, predicate_columns = predicate_of(layout.where, "source.where")
    raw = open_raw(path, layout, list(mapped.values()), predicate_columns)
    fields = _fields(raw, layout, mapped, latest)
    return _Opened(raw, fields, kept_by_where(raw, layout.where, predicate, predicate_columns, "source.where"), predicate_columns)


def _latest_believed(path: Path, checks: Checks) -> dt.datetime | None:
    """The last instant that an event of the file may have; None where the file's date or the configuration says nothing."""
    written = dt.datetime.fromtimestamp(path.stat().st_mtime_ns // 1_000_000_000, dt.UTC)
    tolerance = checks.future_times.tolerance
    return None if tolerance is None or written < EARLIEST else written + dt.timedelta(milliseconds=tolerance)


def _batches(raw: RawFile, table: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    with reading(raw.path, raw.format):
        yield from table.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)


def _raw_fields(raw: RawFile, mapped: list[str], predicate_columns: list[str]) -> list[pl.Expr]:
    """The file's own fields as text, named so that they do not meet the contract's."""
    names = list(dict.fromkeys([*mapped, *predicate_columns, *([LINE] if raw.format == "jsonl" else [])]))
    return [_as_text(name, raw.schema.get(name, pl.String())).alias(f"raw:{name}") for name in names]


def _field_at_fault(mapped: dict[str, str | int]) -> pl.Expr:
    """The text of the field that a refused row's rule is about; null where it is about none."""
    fault = pl.lit(None, pl.String)
    for rule, field in FIELDS.items():
        if field in mapped:
            fault = pl.when(pl.col("rule") == rule).then(f"raw:{column_name(mapped[field])}").otherwise(fault)
    return fault


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


def _fields(raw: RawFile, layout: FilesSource, mapped: dict[str, str | int], latest: dt.datetime | None) -> _Fields:
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
        id_types[target], given, value = id_expression(raw, names[field], head[names[field]], wanted, f"source.columns.{field}")
        expressions += [given.alias(f"{field}_given"), value.alias(target)]
    expressions.append(pl.lit("session" in names).alias("sessionized"))

    name = names["timestamp"]
    numbers = mostly_numbers(head[name])
    given, value = timestamp_expression(raw.path, name, raw.schema[name], layout.timestamps, numbers)
    value = value.cast(TIMESTAMP)
    expressions += [given.alias("timestamp_given"), value.alias("timestamp")]
    future = never if latest is None else (value > latest).fill_null(False)
    expressions.append(future.alias("future"))

    if "event" in names:
        text = pl.col(names["event"]).cast(pl.String)
        value = text if layout.event_map is None else text.replace_strict(layout.event_map, default=None, return_dtype=pl.String)
        expressions += [filled(text).alias("event_given"), value.alias("event")]
    else:
        expressions += [always.alias("event_given"), pl.lit(layout.default_event).alias("event")]

    for field in OPTIONAL_COLUMNS:
        if field in names:
            given, value = _number(raw, names[field], field)
        else:
            given, value = never, nothing.cast(pl.Float64)
        expressions += [given.alias(f"{field}_given"), value.alias(field)]
    return _Fields(expressions, id_types)


def _number(raw: RawFile, name: str, field: str) -> tuple[pl.Expr, pl.Expr]:
    """Whether a number is given, and the number; NaN, which stands for a missing one in many files, is none."""
    dtype, column = raw.schema[name], pl.col(name)
    if dtype == pl.String:
        number = column.str.strip_chars().cast(pl.Float64, strict=False)
        given = filled(column) & number.is_not_nan().fill_null(True)
    elif dtype.is_numeric():
        number = column.cast(pl.Float64)
        given = number.is_not_nan().fill_null(False)
    else:
        raise DataError(
            f"{raw.path}: column {name!r} is of type {dtype}, which is no number; map source.columns.{field} to a column of numbers"
        )
    return given, pl.when(number.is_finite()).then(number)
