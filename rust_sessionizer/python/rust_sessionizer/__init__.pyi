"""Event logs to sessions.

Tables and arrays are taken from any library with the Arrow PyCapsule interface: polars, pandas, pyarrow, DuckDB and
others, in one piece or in chunks. Results are polars' own objects where the input is; otherwise a small `Table` or
`Array` that every such library takes. Nothing is changed in place, results do not depend on the number of threads, and
other Python threads run while a function works.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal, Protocol, final, overload

import numpy as np
import polars as pl

__all__ = [
    "Array",
    "ColumnError",
    "GapError",
    "NullValueError",
    "SessionizerError",
    "SettingError",
    "SizeError",
    "Table",
    "TimeRangeError",
    "TrainingSchedule",
    "drop_repeats",
    "encode",
    "filter_support",
    "number_sessions",
    "sessionize",
    "split_sessions",
    "training_schedule",
]

class _StreamExporter(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

class _ArrayExporter(Protocol):
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...

_Arrow = _StreamExporter | _ArrayExporter

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
    """The gap is no length of time."""

class SettingError(SessionizerError):
    """A setting is out of its range."""

class SizeError(SessionizerError):
    """More rows or more distinct values than one call can take."""

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
    [[1, 2], [1, 1]]
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
