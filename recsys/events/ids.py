"""Ids in a log, whatever their column's type is, to integers or texts."""

import polars as pl

from recsys.errors import DataError
from recsys.events.sources.files import RawFile

_NO_CANONICAL_INTEGER = r"^(?:\+|-?0\d|-0$)"


def filled(text: pl.Expr) -> pl.Expr:
    """Whether a text is more than blanks."""
    return text.str.strip_chars().str.len_bytes().fill_null(0) > 0


def id_expression(raw: RawFile, name: str, head: pl.Series, wanted: str, key: str) -> tuple[pl.DataType, pl.Expr, pl.Expr]:
    """How a column of ids is read.

    Parameters
    ----------
    raw : RawFile
    name : str
        The column.
    head : pl.Series
        Its first rows, by which `auto` decides.
    wanted : str
        integer, string or auto.
    key : str
        The key of the configuration that names the column, for messages.

    Returns
    -------
    dtype : pl.DataType
        Int64 or String.
    given : pl.Expr
        Whether the field is filled.
    value : pl.Expr
        The id; null where the field cannot be read.

    Raises
    ------
    DataError
        If no id can be read from a column of this type.
    """
    dtype, column = raw.schema[name], pl.col(name)
    if wanted == "auto" and key.endswith(".item"):
        _refuse_decimals(raw, name, head, key)
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Decimal):
        column, head, dtype = column.cast(pl.String), head.cast(pl.String), pl.String()
    if dtype == pl.String:
        looks = raw.inferred[name] if raw.format == "jsonl" else None
        whole = whole_number(column, wanted)
        integer = wanted == "integer" or (wanted == "auto" and _texts_are_integers(head, looks))
        if integer and wanted == "auto" and looks is not None and looks.is_float():
            whole = whole_number(column, "integer")
        given = filled(column)
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
    raise DataError(f"{raw.path}: column {name!r} is of type {dtype}, which is no id; map {key} to integers or texts")


def _refuse_decimals(raw: RawFile, name: str, head: pl.Series, key: str) -> None:
    """Items such as 12.5 are prices or shares; whole numbers may be ids, since integers with gaps often come as floats."""
    if not raw.inferred[name].is_float():
        return
    numbers = head.cast(pl.Float64, strict=False).drop_nulls().drop_nans()
    broken = numbers.filter(numbers % 1 != 0)
    if len(broken):
        types = key.replace(".columns.", ".id_types.")
        raise DataError(
            f"{raw.path}: column {name!r} holds numbers with decimals, such as {broken[0]}, which are no ids; correct {key}, or set "
            f"{types} to string if these are the ids"
        )


def whole_number(text: pl.Expr, wanted: str) -> pl.Expr:
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
    texts = head.drop_nulls().to_frame("id").filter(filled(pl.col("id")))
    return bool(texts.select(whole_number(pl.col("id"), kind).is_not_null().all()).item())
