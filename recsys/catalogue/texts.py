"""Fields of a shop's files as the catalogue's texts."""

import polars as pl

from recsys.events.sources.files import RawFile


def text_expression(raw: RawFile, name: str) -> pl.Expr:
    """A column as text without outer blanks; null where nothing is said. A whole number has no decimals, so that 12.0 is category 12."""
    dtype, column = raw.schema[name], pl.col(name)
    if dtype.is_float():
        whole = pl.when(column % 1 == 0).then(column.cast(pl.Int64, strict=False)).cast(pl.String)
        text = pl.when(column.is_not_nan()).then(pl.coalesce(whole, column.cast(pl.String)))
    elif dtype.is_nested() or dtype == pl.Binary:
        text = pl.lit(None, pl.String)
    else:
        text = column.cast(pl.String)
    trimmed = text.str.strip_chars()
    return pl.when(trimmed.str.len_bytes() > 0).then(trimmed)
