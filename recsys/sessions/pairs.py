"""Pairs of a prefix and the item that follows: held-out predictions as others publish them, in the terms of a window."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys.errors import DataError
from recsys.sessions.table import Positions, Sessions


@dataclass(frozen=True)
class PairColumns:
    """The columns of a file of pairs.

    Attributes
    ----------
    prefix
        Lists of item ids: the session so far.
    target
        Item ids: what follows.
    session
        Which pairs are of one session, where the file says so; else each stands for itself.
    """

    prefix: str = "prefix"
    target: str = "target"
    session: str | None = None


@dataclass(frozen=True)
class Pairs:
    """P pairs over a window's vocabulary.

    Attributes
    ----------
    sessions
        A session a pair: the items of its prefix that are known, then its target.
    positions
        The targets.
    known : bool [P]
        Whether the target is in the vocabulary; where it is not, item 0 stands for it in `sessions` and `positions`.
    owners : int64 [P]
        The session that a pair is of.
    unknown_clicks
        Clicks on unknown items, which the prefixes have lost.
    """

    sessions: Sessions
    positions: Positions
    known: np.ndarray
    owners: np.ndarray
    unknown_clicks: int


def read_pairs(path: Path, items: pl.DataFrame, columns: PairColumns | None = None) -> Pairs:
    """Pairs of a Parquet file, a row a pair, over the vocabulary `items` (`index`, `item_id`).

    Item ids are compared as the vocabulary has them: numbers in the file are texts where those of the log are.

    Raises
    ------
    DataError
        If the file is no Parquet file, has no rows, or lacks a column; if a column is of the wrong type or a value is missing.
    """
    columns = columns if columns is not None else PairColumns()
    frame = _read(path, columns)
    lengths = frame[columns.prefix].list.len().to_numpy().astype(np.int64)
    clicks = _indices(frame[columns.prefix].explode(empty_as_null=False), items)  # -1 is unknown, as below
    targets = _indices(frame[columns.target], items)
    kept = clicks >= 0
    row = np.repeat(np.arange(frame.height), lengths)[kept]
    offsets = np.zeros(frame.height + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=frame.height) + 1, out=offsets[1:])
    last = offsets[1:] - 1
    flat = np.empty(offsets[-1], dtype=np.int32)
    is_target = np.zeros(len(flat), dtype=bool)
    is_target[last] = True
    flat[is_target], flat[~is_target] = np.maximum(targets, 0), clicks[kept]
    pairs = np.arange(frame.height, dtype=np.int64)
    owners = pairs if columns.session is None else frame[columns.session].rank("dense").to_numpy().astype(np.int64)
    return Pairs(Sessions(flat, offsets), Positions(pairs, last, flat[last]), targets >= 0, owners, int(np.count_nonzero(~kept)))


def _read(path: Path, columns: PairColumns) -> pl.DataFrame:
    """The columns of the file, checked."""
    options = {"--prefix-column": columns.prefix, "--target-column": columns.target, "--session-column": columns.session}
    named = {option: column for option, column in options.items() if column is not None}
    try:
        schema = pl.read_parquet_schema(path)
        for option, column in named.items():
            if column not in schema:
                raise DataError(f"{path} has no column {column!r}, only {', '.join(map(repr, schema))}; say with {option} which it is")
        kinds = {columns.prefix: getattr(schema[columns.prefix], "inner", None), columns.target: schema[columns.target]}
        for column, kind in kinds.items():
            if kind is None or not (kind.is_integer() or kind == pl.String):
                wanted = "lists of item ids" if column == columns.prefix else "item ids"
                raise DataError(f"the column {column!r} of {path} holds {schema[column]}; write {wanted}, as whole numbers or texts")
        frame = pl.read_parquet(path, columns=list(named.values()))
    except pl.exceptions.ComputeError as error:
        raise DataError(f"{path} is no Parquet file ({str(error).splitlines()[0]}); give one with a row a pair") from None
    if not frame.height:
        raise DataError(f"{path} has no rows, so that there is nothing to predict; give a file with a row a pair")
    for column in named.values():
        values = frame[column]
        absent = values.is_null() if column != columns.prefix else values.is_null() | values.list.eval(pl.element().is_null()).list.any()
        if absent.any():
            raise DataError(f"the column {column!r} of {path} lacks a value in row {absent.arg_max()} (from 0); leave the row out")
    return frame


def _indices(ids: pl.Series, items: pl.DataFrame) -> np.ndarray:
    """Window indices of item ids, -1 where unknown: int32."""
    vocabulary = items["item_id"]
    ids = ids.cast(vocabulary.dtype, strict=False)
    return ids.replace_strict(vocabulary, items["index"], default=-1, return_dtype=pl.Int32).to_numpy()
