"""Which rows of a file are wanted: `where`, an SQL expression over the file's own columns."""

import polars as pl

from recsys.errors import ConfigurationError
from recsys.events.sources.files import RawFile, reading


def predicate_of(where: str | None, key: str) -> tuple[pl.Expr | None, list[str]]:
    """An SQL expression as one of polars, and the columns it names; nothing for no expression; `key` is its place in the configuration."""
    if where is None:
        return None, []
    try:
        predicate = pl.sql_expr(where)
        return predicate, list(dict.fromkeys(predicate.meta.root_names()))
    except pl.exceptions.PolarsError as error:
        raise ConfigurationError(f"{key}: {where!r} is no SQL expression: {str(error).splitlines()[0]}") from None


def kept_by_where(raw: RawFile, where: str | None, predicate: pl.Expr | None, columns: list[str], key: str) -> pl.Expr:
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
                f"{key}: {where!r} does not fit the columns ({found}): {reason}; use CAST where types differ"
            ) from None
    if kind != pl.Boolean:
        raise ConfigurationError(f"{key}: {where!r} gives {kind}, not true or false; write a comparison")
    packed = pl.struct(typed.get(column, pl.col(column)).alias(column) for column in columns)
    return packed.map_batches(lambda series: series.struct.unnest().select(predicate.fill_null(False)).to_series(), return_dtype=pl.Boolean)
