"""Sessions of a log that does not fit in memory: the same table, catalogue and summary, by way of files."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

import rust_sessionizer
from recsys.errors import ConfigurationError, DataError, MemoryShortageError, StorageError
from recsys.files import read_json, write_json, write_parquet
from recsys.sessions.build import SESSION_COLUMNS
from recsys.sessions.coded import Counted, Log, count, needed_bytes, sessionized, write_coded
from recsys.sessions.events import by_check, read_exclusions
from recsys.sessions.summary import EventCounts, summarize
from recsys.settings.sessions import SessionSettings, SplitSettings

CATALOGUE, COUNTS = "catalogue.parquet", "counts.json"
LEAST_MEMORY = 64 << 20
"""Bytes that the extension needs whatever the log."""


def open_log(parts: list[Path], test_parts: list[Path], exclusions: Path | None) -> Log:
    """The log of some parts, nothing but their footers read."""
    removed = read_exclusions(exclusions, [*parts, *test_parts]) if exclusions else {}
    return Log.of(parts, test_parts, removed)


def fits(log: Log, memory_limit: int) -> bool:
    """Whether the sessions of a log can be made at once within so many bytes."""
    return needed_bytes(log) <= memory_limit


def code_events(log: Log, settings: SessionSettings, folder: Path) -> None:
    """Write the events with codes for names into `folder`, with the catalogue and what else has to be known of them.

    Raises
    ------
    DataError
        If the log holds no event or cannot be sessionized.
    """
    counted = count(log)
    described = {
        "log": counted.events,
        "test_log": counted.test_events,
        "first": counted.first,
        "last": counted.last,
        "names": counted.names,
        "held": counted.held,
        "removed": by_check(log.removed),
        "visited": sum(counted.without_visitor) < counted.events + counted.test_events,
        "sessionized": _sessionized(counted),
    }
    write_coded(log, counted, settings, folder)
    write_parquet(counted.catalogue, folder / CATALOGUE)
    write_json(folder / COUNTS, described)


def _sessionized(counted: Counted) -> bool:
    """Whether both logs came with sessions, or none."""
    log = sessionized(counted.without_session[0], counted.events)
    if counted.test_events and sessionized(counted.without_session[1], counted.test_events) != log:
        raise DataError(
            "one of the log and the separate test log has session ids and the other has none, which is possible only with more memory: "
            "map source.columns.session for both or for none, or raise the memory of sessionize_events"
        )
    return log


def sessionize_coded(
    folder: Path,
    output: Path,
    settings: SessionSettings,
    memory_limit: int,
    threads: int | None = None,
    shard: tuple[int, int] | None = None,
    scratch: Path | None = None,
) -> None:
    """Make the sessions of coded events: the table, or a shard of it.

    Parameters
    ----------
    folder
        What `code_events` wrote.
    output
        Where the table goes, or the shard.
    settings
        How to sessionize.
    memory_limit
        The most bytes to hold.
    threads
        None takes all cores.
    shard
        Which part of the visitors, from 0, of how many.
    scratch
        Where intermediate files go.
    """
    counts = read_json(folder / COUNTS)
    owner = {"session": "session", "visitor": None} if counts["sessionized"] else {"visitor": "visitor_id"}
    # A session is a visitor's, and no visitor goes from the log to the test log.
    apart = ["visitor_id", "held_out"] if counts["sessionized"] else ["held_out"]
    with _told():
        rust_sessionizer.sessionize_files(
            sorted(path for path in folder.glob("*.parquet") if path.name != CATALOGUE),
            output,
            gap=settings.gap,
            memory_limit=max(memory_limit, LEAST_MEMORY),
            **owner,
            apart=apart,
            item="item",
            timestamp="timestamp",
            extra=["events"],
            keep="click" if settings.clicks is not None else None,
            drop_repeats=settings.drop_repeats,
            columns=SESSION_COLUMNS,
            shard=shard,
            threads=threads,
            scratch=scratch,
        )


def parse_shard(text: str) -> tuple[int, int]:
    """Number, from 0, and how many there are, of a shard as Snakemake names it: `1-of-8`.

    Raises
    ------
    ConfigurationError
        If the text names none.
    """
    match = re.fullmatch(r"(\d+)-of-(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigurationError(f"{text!r} names no shard; write one such as 1-of-8, from 1-of-8 to 8-of-8")
    return int(match[1]) - 1, int(match[2])


def join_shards(shards: list[Path], output: Path, memory_limit: int, threads: int | None = None) -> None:
    """Join the shards of all visitors into the table."""
    with _told():
        rust_sessionizer.join_shards(shards, output, memory_limit=max(memory_limit, LEAST_MEMORY), columns=SESSION_COLUMNS, threads=threads)


def describe(folder: Path, sessions: Path, settings: SessionSettings, split: SplitSettings) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The catalogue, and the summary of a table that was made of coded events."""
    counts = read_json(folder / COUNTS)
    coded = sorted(path for path in folder.glob("*.parquet") if path.name != CATALOGUE)
    visitors = pl.scan_parquet(coded).select(pl.col("visitor_id").n_unique()).collect(engine="streaming").item()
    events = EventCounts(
        log=counts["log"],
        test_log=counts["test_log"],
        visitors=visitors if counts["visited"] else None,
        first=counts["first"],
        last=counts["last"],
        names=counts["names"],
        held=counts["held"],
        removed=counts["removed"],
        sessionized=counts["sessionized"],
    )
    catalogue = pl.read_parquet(folder / CATALOGUE)
    return catalogue, summarize(pl.scan_parquet(sessions), events, catalogue.height, settings, split)


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the extension refuses into this package's errors."""
    try:
        yield
    except rust_sessionizer.DiskSpaceError as error:
        raise StorageError(str(error)) from None
    except rust_sessionizer.SizeError as error:
        raise MemoryShortageError(f"{error} (mem_mb of the rule in the profile)") from None
    except rust_sessionizer.SessionizerError as error:
        raise DataError(str(error)) from None
