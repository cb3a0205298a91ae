"""Sessions in memory: one flat array of clicks and the offsets that cut it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl


def _flat(column: pl.Series) -> np.ndarray:
    return column.explode(empty_as_null=False).to_numpy()


@dataclass(frozen=True)
class Sessions:
    """S sessions with C clicks in all; session s holds the clicks `offsets[s]:offsets[s + 1]`.

    Attributes
    ----------
    items : int32 [C]
        Item indices, in the order of the clicks.
    offsets : int64 [S + 1]
        Where each session begins; the last entry is C.
    times : int64 [C], optional
        Milliseconds since 1970-01-01 UTC.
    events : uint8 [C], optional
        Event codes.
    visitors : sequence of S, optional
        Who each session belongs to.
    starts : int64 [S], optional
        Milliseconds at which each session starts.
    """

    items: np.ndarray
    offsets: np.ndarray
    times: np.ndarray | None = None
    events: np.ndarray | None = None
    visitors: Sequence | None = None
    starts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [S]: clicks of each session."""
        return np.diff(self.offsets)

    def __getitem__(self, session: int) -> np.ndarray:
        return self.items[self.offsets[session] : self.offsets[session + 1]]

    def between(self, first: int, last: int) -> "Sessions":
        """The sessions `first:last`: their items, times, event codes, visitors and starts."""
        begin, end = self.offsets[first], self.offsets[last]
        return Sessions(
            items=self.items[begin:end],
            offsets=self.offsets[first : last + 1] - begin,
            times=None if self.times is None else self.times[begin:end],
            events=None if self.events is None else self.events[begin:end],
            visitors=None if self.visitors is None else self.visitors[first:last],
            starts=None if self.starts is None else self.starts[first:last],
        )

    def of(self, chosen: np.ndarray) -> "Sessions":
        """The chosen sessions, bool [S]: their items and starts."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths[chosen])]).astype(np.int64)
        return Sessions(self.items[np.repeat(chosen, self.lengths)], offsets, starts=None if self.starts is None else self.starts[chosen])

    @classmethod
    def from_lists(cls, lists: Iterable[Sequence[int]]) -> "Sessions":
        """Sessions of plain lists of item indices."""
        arrays = [np.asarray(items, dtype=np.int32) for items in lists]
        offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum([len(items) for items in arrays], out=offsets[1:])
        return cls(np.concatenate(arrays) if arrays else np.empty(0, np.int32), offsets)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> "Sessions":
        """Sessions of a table with the column `items` and optionally `times`, `events`, `visitor_id`, `start`."""
        offsets = np.zeros(frame.height + 1, dtype=np.int64)
        np.cumsum(frame["items"].list.len().to_numpy(), out=offsets[1:])
        has = frame.columns
        return cls(
            items=_flat(frame["items"]).astype(np.int32, copy=False),
            offsets=offsets,
            times=_flat(frame["times"].cast(pl.List(pl.Int64))) if "times" in has else None,
            events=_flat(frame["events"]).astype(np.uint8, copy=False) if "events" in has else None,
            visitors=frame["visitor_id"] if "visitor_id" in has else None,
            starts=frame["start"].cast(pl.Int64).to_numpy() if "start" in has else None,
        )

    @classmethod
    def from_parquet(cls, path: Path, columns: Sequence[str] = ("items", "start")) -> "Sessions":
        """Sessions of a Parquet file; only `columns` are read."""
        return cls.from_frame(pl.read_parquet(path, columns=list(columns)))

    def targets(self) -> "Positions":
        """Every click after a session's first: what is to be predicted from the clicks before it."""
        position = np.arange(len(self.items), dtype=np.int64)
        first = np.zeros(len(self.items), dtype=bool)
        first[self.offsets[:-1][self.lengths > 0]] = True
        click = position[~first]
        session = np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)[~first]
        return Positions(session=session, click=click, target=self.items[click])


@dataclass(frozen=True)
class Positions:
    """P predictions of a table of sessions, session by session.

    Attributes
    ----------
    session : int64 [P]
        The session's index.
    click : int64 [P]
        The target's index in the flat click array; the query is what the session holds before it.
    target : int32 [P]
        The item that is to be predicted.
    """

    session: np.ndarray
    click: np.ndarray
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.click)

    def at_once(self, sessions: Sessions, most: int) -> Iterator[tuple[slice, Sessions, "Positions"]]:
        """Whole sessions with about `most` predictions at a time: which of the predictions, and both by themselves."""
        first = 0
        while first < len(sessions):
            begin = int(np.searchsorted(self.session, first))
            last = len(sessions) if begin + most >= len(self) else max(int(self.session[begin + most]), first + 1)
            end = int(np.searchsorted(self.session, last))
            own = Positions(self.session[begin:end] - first, self.click[begin:end] - sessions.offsets[first], self.target[begin:end])
            yield slice(begin, end), sessions.between(first, last), own
            first = last
