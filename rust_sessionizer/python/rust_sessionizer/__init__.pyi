"""Event logs to sessions.

Tables and arrays are taken from any library with the Arrow PyCapsule interface: polars, pandas, pyarrow, DuckDB and
others, in one piece or in chunks. Results are polars' own objects where the input is; otherwise a small `Table` or
`Array` that every such library takes. Nothing is changed in place, results do not depend on the number of threads, and
other Python threads run while a function works.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from os import PathLike
from typing import Any, Literal, Protocol, final, overload

import numpy as np
import polars as pl

__all__ = [
    "Array",
    "ColumnError",
    "DiskSpaceError",
    "FileError",
    "GapError",
    "NullValueError",
    "Sessionizer",
    "SessionizerError",
    "SettingError",
    "SizeError",
    "StateError",
    "Summary",
    "Table",
    "TimeRangeError",
    "TrainingSchedule",
    "drop_repeats",
    "encode",
    "filter_support",
    "join_shards",
    "number_sessions",
    "sessionize",
    "sessionize_files",
    "split_sessions",
    "training_schedule",
]

class _StreamExporter(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

class _ArrayExporter(Protocol):
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...

_Arrow = _StreamExporter | _ArrayExporter
_Path = str | PathLike[str]

class SessionizerError(ValueError):
    """The input cannot be used; the base of all errors of this package.

    Attributes
    ----------
    column, row, value
        What the message names, where it does: the column, the row (from 0; of a table with a row a session, the session), and
        the value as text.
    """

    column: str | None
    row: int | None
    value: str | None

class NullValueError(SessionizerError):
    """A value is missing where one is needed; the message names the column and the row."""

class TimeRangeError(SessionizerError):
    """A time does not fit in 64-bit milliseconds; the message names the column, the row and the value."""

class ColumnError(SessionizerError):
    """A column is missing, of the wrong type or length, or holds a value that cannot be used."""

class GapError(SessionizerError):
    """The gap, or the tolerance, is no length of time."""

class SettingError(SessionizerError):
    """A setting is out of its range."""

class SizeError(SessionizerError):
    """More rows or more distinct values than one call can take, or more than a limit of memory allows."""

class FileError(SessionizerError):
    """A file is damaged or holds what cannot be used; the message names the file, and where it can the column, row and value."""

class DiskSpaceError(SessionizerError):
    """Too little room on a disk; the message names the folder, what is free and what is needed."""

class StateError(SessionizerError):
    """A saved state cannot be gone on from, or the stream was closed."""

@final
class Table:
    """A table that any library with the Arrow PyCapsule interface takes."""

    @property
    def num_rows(self) -> int:
        """The number of rows."""
    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
    def to_polars(self) -> pl.DataFrame:
        """A polars table, nothing copied. Needs polars."""
    def to_pyarrow(self) -> Any:
        """A pyarrow table, nothing copied. Needs pyarrow."""
    def to_pandas(self) -> Any:
        """A pandas table. Needs pandas and pyarrow."""
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...
    def __arrow_c_schema__(self) -> object: ...
    def __len__(self) -> int: ...

@final
class Array:
    """An array that any library with the Arrow PyCapsule interface takes, and `numpy.asarray` too."""

    def to_polars(self) -> pl.Series:
        """A polars series, nothing copied. Needs polars."""
    def to_pyarrow(self) -> Any:
        """A pyarrow array, nothing copied. Needs pyarrow."""
    def to_numpy(self) -> np.ndarray[Any, Any]:
        """A NumPy array, a copy. Needs NumPy. `polars.Series(array).to_numpy()` gives integers without a copy."""
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...
    def __arrow_c_schema__(self) -> object: ...
    def __len__(self) -> int: ...

@final
class TrainingSchedule:
    """Which click every lane feeds at every step: N predictions in T steps.

    As NumPy arrays: `numpy.asarray(schedule.inputs)`, or `polars.Series(schedule.inputs).to_numpy()`, which copies
    nothing but `resets`.
    """

    @property
    def inputs(self) -> Array:
        """Int64 [N]: the input click's position in the flat list of clicks. The target is the click after it."""
    @property
    def lanes(self) -> Array:
        """Int32 [N]: its lane, ascending within a step."""
    @property
    def resets(self) -> Array:
        """Boolean [N]: whether it is the first click of its session."""
    @property
    def steps(self) -> Array:
        """Int64 [T + 1]: step t holds the entries `steps[t]:steps[t + 1]` of the other three."""

@overload
def sessionize(  # type: ignore[overload-overlap]
    table: pl.DataFrame,
    gap: str | timedelta | int | None = "30m",
    *,
    visitor: str | None = "visitor_id",
    item: str = "item_id",
    timestamp: str = "timestamp",
    session: str | None = None,
    extra: Sequence[str] = (),
    keep: str | None = None,
    drop_repeats: bool = False,
    threads: int | None = None,
) -> pl.DataFrame: ...
@overload
def sessionize(
    table: _Arrow,
    gap: str | timedelta | int | None = "30m",
    *,
    visitor: str | None = "visitor_id",
    item: str = "item_id",
    timestamp: str = "timestamp",
    session: str | None = None,
    extra: Sequence[str] = (),
    keep: str | None = None,
    drop_repeats: bool = False,
    threads: int | None = None,
) -> Table:
    """Cut an event log, a row an event, into sessions.

    A visitor's events are ordered by time, those of one time by row. A new session begins where the pause to the event
    before is longer than the gap.

    Parameters
    ----------
    table
        The log, in any order. One that is ordered by time is faster.
    gap
        The longest pause inside a session: text such as '30m', '1h30m', '7d' (units ms, s, m, h, d, w), a timedelta, or
        milliseconds. None stands for '30m'.
    visitor, item
        Columns of any integer type or of strings.
    timestamp
        A column of timestamps of any unit, of dates, or of integers, which are milliseconds. Timestamps without a time
        zone are taken for UTC. Parts of a millisecond are rounded down.
    session
        A column of integers or strings: the log is sessionized already. Events are grouped by it whatever the pause; the
        visitor, who may be missing or null then, is that of the first kept event.
    extra
        Further columns, carried along as lists.
    keep
        A Boolean column. Events where it is false hold a session together but are not listed; sessions with nothing
        listed vanish.
    drop_repeats
        Of listed events one after the other with the same item, list the first only.
    threads
        All cores where None.

    Returns
    -------
    A table with a row a session, ordered by `start`, then by the input row of the first listed event: `session_id`
    (int64, from 0), the visitor and, where given, the session column under their own names and in their own types, `start`
    (timestamp[ms, UTC], of the first listed event), `items`, `times` (timestamp[ms, UTC]) and the extra columns as large
    lists. Strings in dictionaries are written out.

    Raises
    ------
    NullValueError
        For a null in the visitor, item, timestamp, session or keep column.
    TimeRangeError
        For a time that does not fit in 64-bit milliseconds.
    ColumnError
        For a column that is missing or of the wrong type, or two columns of the result with the same name.
    GapError
        For a gap that is no length of time or is negative.
    SettingError
        For `threads` less than 1, or neither visitor nor session.
    SizeError
        For 2^31 rows or more.
    TypeError
        For a table without the Arrow PyCapsule interface.

    Examples
    --------
    >>> import polars as pl
    >>> log = pl.DataFrame({"visitor_id": ["ann", "bob", "ann"], "item_id": [7, 7, 9], "timestamp": [0, 60_000, 1_800_000]})
    >>> sessionize(log, gap="30m").select("visitor_id", "items").rows()
    [('ann', [7, 9]), ('bob', [7])]
    >>> sessionize(log, gap="30m").columns
    ['session_id', 'visitor_id', 'start', 'items', 'times']
    >>> sessionize(log, gap="half an hour")
    Traceback (most recent call last):
    rust_sessionizer.GapError: the gap 'half an hour' has a part without a number; write it like '30m', '1h30m' or '7d' (units ms, s, m, h, d, w)
    """

@overload
def number_sessions(  # type: ignore[overload-overlap]
    table: pl.DataFrame,
    gap: str | timedelta | int | None = "30m",
    *,
    visitor: str = "visitor_id",
    timestamp: str = "timestamp",
    threads: int | None = None,
) -> pl.Series: ...
@overload
def number_sessions(
    table: _Arrow,
    gap: str | timedelta | int | None = "30m",
    *,
    visitor: str = "visitor_id",
    timestamp: str = "timestamp",
    threads: int | None = None,
) -> Array:
    """The number of every event's session: the cheapest form of sessions, a column beside the log's own.

    Parameters
    ----------
    table, gap, visitor, timestamp, threads
        As those of `sessionize`.

    Returns
    -------
    An int32 for every row of the log, in the log's order: the `session_id` that `sessionize` gives where it lists all events.

    Raises
    ------
    SessionizerError, TypeError
        As `sessionize`.

    Examples
    --------
    >>> import polars as pl
    >>> log = pl.DataFrame({"visitor_id": [7, 9, 7, 7], "timestamp": [0, 5, 1_000, 3_000_000]})
    >>> number_sessions(log, gap="30m").to_list()
    [0, 1, 0, 2]
    """

@final
class Summary:
    """What came out of files."""

    @property
    def events(self) -> int:
        """Events read; of a shard, its own."""
    @property
    def sessions(self) -> int:
        """Sessions written."""
    @property
    def clicks(self) -> int:
        """Events listed in them."""
    @property
    def visitors(self) -> int | None:
        """Distinct visitors (or sessions, where these are given); None where they were not counted, of shards by each of them."""

def sessionize_files(
    inputs: _Path | Iterable[_Path],
    output: _Path,
    gap: str | timedelta | int | None = "30m",
    *,
    memory_limit: str | int = "4GiB",
    visitor: str | None = "visitor_id",
    item: str = "item_id",
    timestamp: str = "timestamp",
    session: str | None = None,
    extra: Sequence[str] = (),
    apart: Sequence[str] = (),
    keep: str | None = None,
    drop_repeats: bool = False,
    columns: Sequence[str] | None = None,
    shard: tuple[int, int] | None = None,
    count_visitors: bool = False,
    csv_types: Mapping[str, Literal["integer", "float", "boolean", "string"]] | None = None,
    delimiter: str = ",",
    partitions: int | None = None,
    threads: int | None = None,
    scratch: _Path | None = None,
    progress: Callable[[str, int, int], object] | None = None,
) -> Summary:
    """Cut a log that need not fit in memory, in Parquet or CSV files, into sessions in one Parquet file.

    The result is that of `sessionize` on the files' rows one below the other: the same sessions, in the same order, whatever the
    limit of memory, the threads, partitions and shards; even the bytes of the file are the same. Events are split by visitor
    into partitions, which are kept in memory while there is room and in `scratch` otherwise.

    Parameters
    ----------
    inputs
        A file or several; their order is that of events of the same time. Files that begin with `PAR1` are Parquet, others CSV
        with a header. They are only read.
    output
        The Parquet file (zstd) to write. It appears whole or not at all.
    gap, visitor, item, timestamp, session, extra, keep, drop_repeats
        As for `sessionize`, but `extra` takes no lists, decimals and binary values. A CSV file's times are milliseconds or text such as
        2026-03-01T12:00:00Z; its ids are integers where those of the first thousand rows are. A CSV column without a value in these
        rows has the type that it has in the other files.
    memory_limit
        The most that the call may hold: text such as '4GiB', or bytes; 64 MiB at least. On top of it comes what the process held
        before, and what long texts take beyond 24 bytes each: of a chunk (262,144 rows of Parquet, 4 MiB of CSV) that a thread reads,
        where a Parquet file keeps them in a dictionary, and of a row group (up to 64 MiB of texts, or one session) that a thread
        writes. Texts of visitors' events that are being cut are counted.
    apart
        Further columns by which events are grouped: events that differ in one of them share no session, null being a value.
        They stand in the result, one value a session.
    columns
        The columns of the result, in order. None: all, as from `sessionize`, then `apart`.
    shard
        `(number, of)`: only the visitors of this part of all, 0 to `of` - 1, by a hash of their ids that is the same on every
        machine. The output is then a file for `join_shards`.
    count_visitors
        Whether to count the distinct visitors, which takes some time.
    csv_types
        Types of CSV columns that are not to be guessed; only of columns that are read.
    delimiter
        What separates the fields of a CSV file.
    partitions
        Into how many parts the log is split, 1 to 256. None: by size and limit.
    threads
        All cores where None.
    scratch
        Where intermediate files go. None: beside the output. What a killed process left there is removed by the next call.
    progress
        Called about ten times a second with the stage ('read', 'cut', 'write'), how much is done and how much there is. What it
        raises stops the work, as Ctrl-C does; nothing is left behind then. The last call comes before the output is in its place.

    Raises
    ------
    NullValueError, TimeRangeError, ColumnError, GapError, SettingError
        As `sessionize`, the file named.
    FileError
        For a file that is damaged, a CSV value of another type, or columns whose types differ between files.
    DiskSpaceError
        For too little room, before anything is read.
    SizeError
        For a visitor, or several whose hashes are alike, whose events do not fit in the limit.
    OSError
        For what the system refuses.

    Examples
    --------
    >>> import polars as pl, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for day, visitors in enumerate((["ann", "bob"], ["ann"])):
    ...     log = pl.DataFrame({"visitor_id": visitors, "item_id": [7, 8][: len(visitors)], "timestamp": 1_000 * day})
    ...     log.write_parquet(folder / f"{day}.parquet")
    >>> sessionize_files(sorted(folder.glob("*.parquet")), folder / "sessions", memory_limit="1GiB")
    <Summary: 3 events, 2 sessions, 3 clicks>
    >>> pl.read_parquet(folder / "sessions")["items"].to_list()
    [[7, 7], [8]]
    """

def join_shards(
    shards: _Path | Iterable[_Path],
    output: _Path,
    *,
    memory_limit: str | int = "4GiB",
    columns: Sequence[str] | None = None,
    threads: int | None = None,
    progress: Callable[[str, int, int], object] | None = None,
) -> Summary:
    """Join all shards of a log into the file that `sessionize_files` writes without shards, byte for byte.

    Parameters
    ----------
    shards
        What `sessionize_files` wrote for every shard of one log, in any order. They are read twice: first for their checksum.
    output, memory_limit, columns, threads, progress
        As for `sessionize_files`; there are no intermediate files. The stages are 'read' and 'write'.

    Raises
    ------
    FileError
        For shards that are missing, doubled, damaged, of another version, or of different logs or settings.
    DiskSpaceError, SettingError, OSError
        As `sessionize_files`.
    """

@final
class Sessionizer:
    """Cuts a stream of events into sessions, as it happens.

    The newest time seen, less the tolerance, is the watermark. An event below the watermark of the events before it is late: it is
    counted in `late` and left out. A session is given out when its last event lies more than the gap below the watermark, so
    that no event on time can change it any more. What comes out depends on the events and their order alone, not on how they are
    batched: it is what `sessionize` gives for the same events in the same order, the late ones left out.

    An event is known by its offset, its place in the stream, which ascends (gaps are allowed). Events with an offset below
    `next_offset` were fed before and change nothing. So: save the state, and after a crash load it and feed again from any offset
    not later than `next_offset`. Sessions given out between the last save and the crash are given out again, the same ones: a
    session is known by its `offset`, that of its first listed event.

    Threads may share one: their calls take turns, each of them whole, while other threads run.

    Parameters
    ----------
    gap, visitor, item, timestamp, keep, drop_repeats
        As for `sessionize`: names of the columns of the tables that are fed.
    tolerance
        How much earlier than the newest event before it an event may be and still be placed: text, a timedelta or milliseconds.

    Raises
    ------
    GapError
        For a gap or a tolerance that is no length of time or is negative.
    ColumnError
        For a visitor column named as another one of the result: start, items, times or offset.

    Examples
    --------
    >>> stream = Sessionizer("30m", tolerance="1m")
    >>> len(stream.add("ann", 7, 0)), len(stream.add("bob", 7, 60_000)), len(stream.add("ann", 8, 30_000))
    (0, 0, 0)
    >>> ended = stream.add("bob", 9, 7_200_000)
    >>> ended.to_polars()["items"].to_list()
    [[7, 8], [7]]
    >>> stream.add("eve", 1, 0), stream.late
    (<Table: 0 rows; visitor_id, start, items, times, offset>, 1)
    >>> stream.close().to_polars()["visitor_id"].to_list()
    ['bob']
    """

    def __new__(
        cls,
        gap: str | timedelta | int | None = "30m",
        *,
        tolerance: str | timedelta | int = 0,
        visitor: str = "visitor_id",
        item: str = "item_id",
        timestamp: str = "timestamp",
        keep: str | None = None,
        drop_repeats: bool = False,
    ) -> Sessionizer: ...
    @overload
    def feed(self, table: pl.DataFrame, offset: int | str | None = None) -> pl.DataFrame: ...  # type: ignore[overload-overlap]
    @overload
    def feed(self, table: _Arrow, offset: int | str | None = None) -> Table:
        """Take events in the order of their offsets and give the sessions that ended.

        Parameters
        ----------
        table
            A row an event, of the same types of ids as before: strings, integers of 64 bits, or unsigned ones where the first table
            has such; integers of any type are taken that fit. Other columns are not looked at.
        offset
            The offset of the first row, those of the others following it; or the column of the offsets. None: `next_offset`, so that
            nothing is taken for a replay.

        Returns
        -------
        A row a session, ordered by `start`, then `offset`: the visitor under its own name (int64, uint64 or string), `start`
        (timestamp[ms, UTC]), `items`, `times` and `offset` (int64, of the first listed event).

        Raises
        ------
        NullValueError, TimeRangeError, ColumnError
            As `sessionize`, and for offsets that do not ascend or ids of another type than before; nothing has changed then.
        StateError
            For new events after `close`.
        """
    def add(
        self, visitor: str | int, item: str | int, timestamp: int | datetime, *, keep: bool = True, offset: int | None = None
    ) -> Table:
        """Take one event and give the sessions that ended; as `feed`. A datetime without a time zone is taken for UTC."""
    def close(self) -> Table:
        """Give the sessions that are left at the end of the stream."""
    def save(self, path: _Path) -> None:
        """Save the state in place of the file, whole or not at all. What a killed process left beside it is removed."""
    @classmethod
    def load(cls, path: _Path) -> Sessionizer:
        """Go on from a saved state.

        Raises
        ------
        StateError
            For a file that is damaged, of another version or no state.
        """
    @property
    def watermark(self) -> int | None:
        """Events before this time, in milliseconds, are late; None before the first event."""
    @property
    def next_offset(self) -> int:
        """Events with an offset below it were fed before."""
    @property
    def waiting(self) -> int:
        """Events whose sessions have not ended."""
    @property
    def placed(self) -> int:
        """Events that were not late."""
    @property
    def late(self) -> int:
        """Events that came too late and were left out."""
    @property
    def sessions(self) -> int:
        """Sessions given out."""

@overload
def encode(values: pl.Series, threads: int | None = None) -> tuple[pl.Series, pl.Series]: ...  # type: ignore[overload-overlap]
@overload
def encode(values: _Arrow, threads: int | None = None) -> tuple[Array, Array]:
    """Codes for values, in the order of the sorted distinct values.

    Parameters
    ----------
    values
        Integers, compared as numbers, or strings, compared byte by byte.
    threads
        All cores where None.

    Returns
    -------
    codes : int32
        The code of every value.
    uniques
        The value of every code, in the type of `values`.

    Raises
    ------
    NullValueError
        For a null.
    ColumnError
        For values of another type.
    SizeError
        For 2^31 distinct values or more.

    Examples
    --------
    >>> import polars as pl
    >>> codes, uniques = encode(pl.Series(["tea", "milk", "tea"]))
    >>> codes.to_list(), uniques.to_list()
    ([1, 0, 1], ['milk', 'tea'])
    """

@overload
def drop_repeats(table: pl.DataFrame, items: str = "items") -> pl.DataFrame: ...  # type: ignore[overload-overlap]
@overload
def drop_repeats(table: _Arrow, items: str = "items") -> Table:
    """Drop clicks on the item of the click before from a table with a row a session.

    Parameters
    ----------
    table
        A row a session.
    items
        A list column of integers or strings. List columns of the same lengths, row by row, are filtered in step.

    Raises
    ------
    NullValueError
        For a null list, or a null in a list; the row is the session's.
    ColumnError
        For a column that is missing or of the wrong type.

    Examples
    --------
    >>> import polars as pl
    >>> drop_repeats(pl.DataFrame({"items": [[1, 1, 2], [3]], "times": [[0, 5, 9], [4]]})).rows()
    [([1, 2], [0, 9]), ([3], [4])]
    """

@overload
def filter_support(  # type: ignore[overload-overlap]
    table: pl.DataFrame,
    *,
    items: str = "items",
    min_support: int = 5,
    min_length: int = 2,
    support_is: Literal["clicks", "sessions"] = "clicks",
) -> pl.DataFrame: ...
@overload
def filter_support(
    table: _Arrow,
    *,
    items: str = "items",
    min_support: int = 5,
    min_length: int = 2,
    support_is: Literal["clicks", "sessions"] = "clicks",
) -> Table:
    """Drop clicks on rare items, then short sessions, over and over until nothing changes.

    Parameters
    ----------
    table
        A row a session.
    items
        A list column of integers or strings. List columns of the same lengths, row by row, are filtered in step; other
        columns stay as they are for the sessions left.
    min_support
        The least support of an item.
    min_length
        The fewest clicks of a session.
    support_is
        What support counts: clicks on the item, or sessions with a click on it.

    Raises
    ------
    NullValueError
        For a null list, or a null in a list; the row is the session's.
    ColumnError
        For a column that is missing or of the wrong type.
    SettingError
        For a negative number, or another `support_is`.

    Examples
    --------
    >>> import polars as pl
    >>> sessions = pl.DataFrame({"items": [[1, 2], [1, 1, 3], [4, 2]]})
    >>> filter_support(sessions, min_support=2, min_length=2)["items"].to_list()
    [[1, 1]]
    """

@overload
def split_sessions(table: pl.DataFrame, cuts: Sequence[int], *, times: str = "times") -> list[pl.DataFrame]: ...  # type: ignore[overload-overlap]
@overload
def split_sessions(table: _Arrow, cuts: Sequence[int], *, times: str = "times") -> list[Table]:
    """Cut a table with a row a session apart in time.

    A session belongs to the part in which it starts; what it does after the end of that part is dropped, so that no part
    knows of what comes later.

    Parameters
    ----------
    table
        A row a session. List columns of the same lengths as `times`, row by row, are cut in step.
    cuts
        Milliseconds since 1970-01-01 UTC, ascending.
    times
        A list column of what `sessionize` takes for times, ascending within a session.

    Returns
    -------
    Of C cuts C + 1 tables: sessions that start before the first cut, from there to the second, and so on; those that start at
    a cut lie behind it. Sessions without any time are in none.

    Raises
    ------
    NullValueError
        For a null list, or a null in a list; the row is the session's.
    ColumnError
        For a column that is missing or of the wrong type.
    SettingError
        For cuts that do not ascend.

    Examples
    --------
    >>> import polars as pl
    >>> sessions = pl.DataFrame({"items": [[1, 2], [3], [4]], "times": [[0, 50], [40], [60]]})
    >>> [part["items"].to_list() for part in split_sessions(sessions, [50])]
    [[[1], [3]], [[4]]]
    """

def training_schedule(lengths: _Arrow, lanes: int) -> TrainingSchedule:
    """The order in which session-parallel mini-batches feed clicks.

    Lane l starts with session l. Each step every lane feeds a click and predicts the next. After its session's last
    prediction a lane takes the next unused session, lower lanes first; where none is left it vanishes, and the batch
    shrinks until all lanes are dry.

    Parameters
    ----------
    lengths
        Integers: the clicks of every session, in order. `polars.Series(array)` for a NumPy array.
    lanes
        The number of lanes; more than sessions is allowed.

    Raises
    ------
    ColumnError
        For a session of less than 2 clicks; the message names it.
    SettingError
        For less than 1 lane.

    References
    ----------
    Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based recommendations with recurrent neural networks, ICLR 2016,
    section 3.1.1.

    Examples
    --------
    >>> import polars as pl
    >>> schedule = training_schedule(pl.Series([2, 4, 2]), lanes=2)
    >>> schedule.inputs.to_polars().to_list(), schedule.steps.to_polars().to_list()
    ([0, 2, 6, 3, 4], [0, 2, 4, 5])
    """
