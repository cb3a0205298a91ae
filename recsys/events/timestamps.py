"""Times in a log, whatever they are written as, to milliseconds UTC."""

import datetime as dt
from pathlib import Path

import polars as pl

from recsys.errors import DataError
from recsys.events.contract import EARLIEST, LATEST, TIMESTAMP
from recsys.settings.layout import Timestamps

# Milliseconds of one unit, as multiplier and divisor, so that whole numbers stay exact.
_UNITS = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}
_FARTHEST_MS = 2**53
_ISO_LAYOUTS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y%m%dT%H%M%S")


def believable_unit(text: str) -> tuple[str, str] | None:
    """The unit in which a number is a believable time, and the day it then is; None for what is no number or no time in any unit."""
    try:
        number = float(text)
    except ValueError:
        return None
    for unit, (factor, divisor) in _UNITS.items():
        milliseconds = number * factor / divisor
        if EARLIEST.timestamp() * 1000 <= milliseconds < LATEST.timestamp() * 1000:
            return unit, f"{dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC):%Y-%m-%d}"
    return None


def timestamp_expression(
    path: Path, name: str, dtype: pl.DataType, settings: Timestamps, numbers: bool, key: str = "source"
) -> tuple[pl.Expr, pl.Expr]:
    """How a column of times is read.

    Parameters
    ----------
    path : Path
        For messages.
    name : str
        The column.
    dtype : pl.DataType
        Its type.
    settings : Timestamps
    numbers : bool
        Whether a text column, about which `settings` says nothing, holds numbers.
    key : str
        Where the layout stands in the configuration, for messages.

    Returns
    -------
    given : pl.Expr
        Whether the field is filled.
    timestamp : pl.Expr
        Datetime(ms, UTC); null where the field cannot be read.

    Raises
    ------
    DataError
        If no time can be read from a column of this type.
    """
    column = pl.col(name)
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return column.is_not_null(), _native(column, dtype, settings.timezone)
    if dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum):
        text = column.cast(pl.String).str.strip_chars()
        given = text.str.len_bytes().fill_null(0) > 0
        if settings.unit is not None or (settings.format is None and numbers):
            return given, _number(text, settings.unit or "ms")
        if settings.format in (None, "iso"):
            return given, _iso(text, settings.timezone)
        return given, _formatted(text, settings.format, settings.timezone)
    if dtype.is_numeric():
        if settings.format is not None:
            text = column.cast(pl.String)
            parse = _iso(text, settings.timezone) if settings.format == "iso" else _formatted(text, settings.format, settings.timezone)
            return column.is_not_null(), parse
        given = column.is_not_null() & (column.is_not_nan() if dtype.is_float() else True)
        return given, _number(column, settings.unit or "ms")
    raise DataError(f"{path}: column {name!r} is of type {dtype}, which is no time; map {key}.columns.timestamp to a column of times")


def mostly_numbers(head: pl.Series) -> bool:
    """Whether most of a column's first rows are texts that are numbers."""
    if head.dtype != pl.String:
        return False
    texts = head.drop_nulls().str.strip_chars()
    return bool(len(texts)) and texts.cast(pl.Float64, strict=False).is_not_null().sum() * 2 > len(texts)


def _native(column: pl.Expr, dtype: pl.DataType, timezone: str) -> pl.Expr:
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return column.dt.convert_time_zone("UTC").cast(TIMESTAMP)
    return _to_utc(column.cast(pl.Datetime("us")), timezone)


def _to_utc(naive: pl.Expr, timezone: str) -> pl.Expr:
    if timezone == "UTC":
        return naive.dt.replace_time_zone("UTC").cast(TIMESTAMP)
    # An hour that occurs twice is taken as the first one; an hour that is skipped cannot be read.
    return naive.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC").cast(TIMESTAMP)


def _number(column: pl.Expr, unit: str) -> pl.Expr:
    factor, divisor = _UNITS[unit]
    decimal = column.cast(pl.Float64, strict=False) * factor / divisor
    readable = decimal.is_finite()
    # Far outside of every calendar, but still a time, so that the range check names it.
    bounded = decimal.clip(-_FARTHEST_MS, _FARTHEST_MS).round().cast(pl.Int64, strict=False)
    if unit == "s":
        # A float holds seconds of this size to far below a millisecond.
        return pl.when(readable).then(bounded).cast(TIMESTAMP)
    # Whole numbers are cut to milliseconds, as native times are; nanoseconds do not fit a float.
    whole = column.cast(pl.Int64, strict=False)
    is_whole = whole.is_not_null() & (column.cast(pl.Float64, strict=False) % 1 == 0) & (decimal.abs() < _FARTHEST_MS)
    exact = pl.when(is_whole).then(whole // divisor).otherwise(bounded)
    return pl.when(readable).then(exact).cast(TIMESTAMP)


def _formatted(text: pl.Expr, layout: str, timezone: str) -> pl.Expr:
    offset = any(sign in layout for sign in ("%z", "%:z", "%#z", "%+"))
    if any(sign in layout for sign in ("%H", "%I", "%T", "%R", "%s", "%+", "%k", "%X", "%c", "%r", "%l")):
        parsed = text.str.to_datetime(layout, time_unit="us", strict=False)
    else:
        parsed = text.str.to_date(layout, strict=False).cast(pl.Datetime("us"))
    return parsed.dt.convert_time_zone("UTC").cast(TIMESTAMP) if offset else _to_utc(parsed, timezone)


def _iso(text: pl.Expr, timezone: str) -> pl.Expr:
    """ISO 8601 with `T` or a blank, seconds and offset optional, `Z` or `UTC` for none; a date alone is its midnight."""
    zone = r"(?:Z|z|UTC|[+-]\d\d(?::?\d\d)?)$"
    has_zone = text.str.contains(r"\d\d:?\d\d.*" + zone) & text.str.contains(r"[T ]")
    base = pl.when(has_zone).then(text.str.replace(r"\s*" + zone, "")).otherwise(text).str.replace(r"^(\d{4}-\d\d-\d\d)[ t]+", "${1}T")
    naive = pl.coalesce(
        *(base.str.to_datetime(layout, time_unit="us", strict=False) for layout in _ISO_LAYOUTS),
        base.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")),
    )
    sign = pl.when(text.str.contains(r"-\d\d(?::?\d\d)?$")).then(-1).otherwise(1)
    hours = text.str.extract(r"[+-](\d\d)(?::?\d\d)?$", 1).cast(pl.Int64, strict=False).fill_null(0)
    minutes = text.str.extract(r"[+-]\d\d:?(\d\d)$", 1).cast(pl.Int64, strict=False).fill_null(0)
    shift = pl.duration(minutes=sign * (hours * 60 + minutes))
    with_offset = (naive.dt.replace_time_zone("UTC") - shift).cast(TIMESTAMP)
    return pl.when(has_zone).then(with_offset).otherwise(_to_utc(naive, timezone))
