"""Where the log is cut in time, and what lies on either side."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from recsys.errors import ConfigurationError
from recsys.settings.base import format_duration
from recsys.settings.sessions import SplitSettings
from rust_sessionizer import split_sessions


@dataclass(frozen=True)
class Cuts:
    """Milliseconds since 1970-01-01 UTC; a session that starts at a cut or later lies behind it.

    Attributes
    ----------
    valid
        Training sessions start before it, validation sessions do not.
    test
        Test sessions start here or later; None where the test log is a separate one.
    """

    valid: int
    test: int | None


def _cut(key: str, size: int | float, starts: np.ndarray, end: int, total: int) -> int:
    """The start of the last `size` of the sessions with the sorted `starts`; `end` closes a duration, `total` is a share's whole."""
    if isinstance(size, float):
        held_out = max(1, round(size * total))
        cut = int(starts[-held_out]) if held_out < len(starts) else int(starts[0])
        span = f"{len(starts):,} sessions"
    else:
        cut = end - size
        span = format_span(int(starts[0]), end)
    if cut <= starts[0]:
        shown = size if isinstance(size, float) else format_duration(size)
        log = "the log" if key == "split.test" else "the log before the test part"
        raise ConfigurationError(f"{key} is {shown}, but {log} has only {span}, and no session is left before it; choose a smaller {key}")
    if cut > starts[-1]:
        raise ConfigurationError(f"{key} is {format_duration(int(size))}, and no session starts in it; choose a larger {key}")
    return cut


def format_span(begin: int, end: int) -> str:
    """How long from `begin` to `end` (milliseconds), in days."""
    return f"{(end - begin) / 86_400_000:.2f} days"


def cut_points(starts: np.ndarray, last_click: int, split: SplitSettings, separate_test: bool) -> Cuts:
    """The cuts of a log.

    Parameters
    ----------
    starts : int64 [S], ascending
        Session starts in milliseconds, those of a separate test log left out.
    last_click
        Time of the last click.
    split
        The configured sizes.
    separate_test
        Whether the test sessions come from a log of their own.

    Raises
    ------
    ConfigurationError
        If a part would be empty.
    """
    if separate_test:
        return Cuts(valid=_cut("split.valid", split.valid, starts, last_click, len(starts)), test=None)
    test = _cut("split.test", split.test, starts, last_click, len(starts))
    before = starts[: np.searchsorted(starts, test)]
    return Cuts(valid=_cut("split.valid", split.valid, before, test, len(starts)), test=test)


def train_and_held_out(sessions: pl.DataFrame, cuts: Cuts, window: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The training and the held-out sessions of a fit window; of a session that crosses a cut, only the clicks before it.

    Parameters
    ----------
    sessions
        All sessions, with the column `held_out` true for those of a separate test log.
    cuts
        Where to cut.
    window
        `select`: learns up to the validation cut and is chosen on what follows; `final`: learns up to the test cut.
    """
    log = sessions.filter(~pl.col("held_out"))
    if window == "select":
        train, valid, *_ = split_sessions(log, [cuts.valid] if cuts.test is None else [cuts.valid, cuts.test])
        return train, valid
    if cuts.test is None:
        return log, sessions.filter(pl.col("held_out"))
    known, test = split_sessions(log, [cuts.test])
    return known, test


def iso(milliseconds: int | None) -> str | None:
    """A time as ISO 8601 text, UTC."""
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
