"""Tables with a row a session and a list a column: changing the clicks of all lists in step."""

import numpy as np
import polars as pl
import pyarrow as pa


def list_columns(frame: pl.DataFrame) -> list[str]:
    """The columns that hold one entry a click."""
    return [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List)]


def from_flat(name: str, values: pl.Series, lengths: np.ndarray) -> pl.Series:
    """A list column of flat `values`, cut into rows of the given `lengths`."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    array = pa.LargeListArray.from_arrays(pa.array(offsets), values.to_arrow())
    return pl.from_arrow(array).alias(name)


def keep_clicks(frame: pl.DataFrame, keep: np.ndarray) -> pl.DataFrame:
    """The clicks for which `keep` [clicks, flat] is true, in every list; a session may be left with none."""
    if keep.all():
        return frame
    lengths = frame["items"].list.len().to_numpy()
    session = np.repeat(np.arange(frame.height), lengths)
    left = np.bincount(session[keep], minlength=frame.height)
    mask = pl.Series(keep)
    return frame.with_columns(from_flat(name, frame[name].explode(empty_as_null=False).filter(mask), left) for name in list_columns(frame))
