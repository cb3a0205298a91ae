"""A log that does not fit in memory gives the same sessions, catalogue and summary as one that does."""

import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from recsys.errors import ConfigurationError, DataError
from recsys.files import write_parquet
from recsys.sessions import coded
from recsys.sessions.build import build_sessions
from recsys.sessions.large import code_events, describe, fits, join_shards, open_log, parse_shard, sessionize_coded
from recsys.settings.sessions import SessionSettings, SplitSettings

SPLIT = SplitSettings(test=0.1, valid=0.2)
LIMIT = 64 << 20


def part(path, seed, kind="visitors", texts=False, rows=3_000):
    """An event part with ties, repeats and events of the log's own, as ingestion writes it."""
    numbers = pl.DataFrame({"row": range(rows)}).with_columns(
        (pl.col("row").hash(seed + salt) % below).cast(pl.Int64).alias(name)
        for salt, (name, below) in enumerate({"visitor": 200, "item": 90, "event": 5, "jitter": 400_000, "session": 9}.items())
    )
    names = pl.DataFrame({"event": range(5), "name": ["view", "view", "cart", "wish", "zoom"]}, schema_overrides={"event": pl.Int64})
    who = pl.when(pl.col("visitor") % (3 if kind == "some visitors" else 1_000) > 0).then(pl.col("visitor"))
    ids = pl.String if texts else pl.Int64
    frame = numbers.join(names, on="event", maintain_order="left").select(
        (pl.lit(None, ids) if kind == "sessions" else who.cast(ids)).alias("visitor_id"),
        (pl.lit(None, ids) if kind == "visitors" else (pl.col("session") + 10 * pl.col("visitor")).cast(ids)).alias("session"),
        pl.col("item").cast(ids).alias("item_id"),
        pl.col("name").alias("event"),
        (1_700_000_000_000 + seed * 10**9 + pl.col("row") * 60_000 + pl.col("jitter")).cast(pl.Datetime("ms", "UTC")).alias("timestamp"),
    )
    if kind == "visitors":
        frame = frame.filter(pl.col("visitor_id").is_not_null())
    write_parquet(frame, path)
    return path


def by_files(folder, parts, test_parts, settings, exclusions=None, shards=1, threads=2):
    """What the stages write of a log that is too large."""
    events = folder / "coded"
    events.mkdir(parents=True)
    log = open_log(parts, test_parts, exclusions)
    code_events(log, settings, events)
    output = folder / "sessions.parquet"
    if shards == 1:
        sessionize_coded(events, output, settings, LIMIT, threads)
    else:
        pieces = [folder / f"{number}.shard" for number in range(shards)]
        for number, piece in enumerate(pieces):
            sessionize_coded(events, piece, settings, LIMIT, threads, parse_shard(f"{number + 1}-of-{shards}"))
        join_shards(pieces, output, LIMIT, threads)
    catalogue, summary = describe(events, output, settings, SPLIT)
    return pl.read_parquet(output), catalogue, summary


@pytest.mark.parametrize("kind", ["visitors", "sessions", "some visitors"])
@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("separate_test", [False, True])
def test_files_and_memory_give_the_same(tmp_path, monkeypatch, kind, texts, separate_test):
    monkeypatch.setattr(coded, "BATCH_EVENTS", 700)
    parts = [part(tmp_path / f"{seed}.parquet", seed, kind, texts) for seed in range(2)]
    test_parts = [part(tmp_path / "test.parquet", 3, kind, texts, 500)] if separate_test else []
    removed = pl.DataFrame({"part": ["1", "1", "0"], "row": [5, 900, 0], "check": ["bots", "bots", "duplicates"]})
    write_parquet(removed, tmp_path / "exclusions.parquet")
    settings = SessionSettings(gap="10m", clicks=["view", "wish"] if texts else None, drop_repeats=not texts)
    expected = build_sessions(parts, test_parts, settings, SPLIT, 2, tmp_path / "exclusions.parquet")
    for shards in (1, 3):
        found = by_files(tmp_path / str(shards), parts, test_parts, settings, tmp_path / "exclusions.parquet", shards)
        for one, other in zip(found[:2], expected[:2], strict=True):
            assert_frame_equal(one, other)
            assert one.schema == other.schema
        assert json.dumps(found[2]) == json.dumps(expected[2])


def test_the_limit_decides(tmp_path):
    log = open_log([part(tmp_path / "0.parquet", 0)], [], None)
    assert fits(log, 320 << 20)
    assert not fits(log, 300 << 20)


def test_what_memory_refuses_files_refuse_too(tmp_path):
    visitors, sessions = part(tmp_path / "0.parquet", 0), part(tmp_path / "1.parquet", 1, "sessions")
    with pytest.raises(DataError, match="of 6000 events|of 5985 events|events have no session id"):
        by_files(tmp_path / "a", [visitors, sessions], [], SessionSettings())
    with pytest.raises(DataError, match="sessions.clicks names 'clik', which the log does not hold; it holds cart, view, wish, zoom"):
        by_files(tmp_path / "b", [visitors], [], SessionSettings(clicks=["clik"]))
    with pytest.raises(DataError, match="no event is a click"):
        by_files(tmp_path / "c", [visitors], [], SessionSettings(clicks=["purchase"]))
    with pytest.raises(DataError, match="one of the log and the separate test log has session ids"):
        by_files(tmp_path / "d", [visitors], [sessions], SessionSettings())
    empty = pl.read_parquet(visitors).clear()
    write_parquet(empty, tmp_path / "empty.parquet")
    with pytest.raises(DataError, match="the log holds no event"):
        by_files(tmp_path / "e", [tmp_path / "empty.parquet"], [], SessionSettings())


@pytest.mark.parametrize("text", ["0-of-2", "3-of-2", "1 of 2", ""])
def test_what_names_no_shard_is_told(text):
    with pytest.raises(ConfigurationError, match="names no shard"):
        parse_shard(text)
