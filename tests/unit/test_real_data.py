"""RetailRocket's browsing sessions through ingestion, sessions and fit windows, against an independent Polars computation."""

import os
from pathlib import Path

import polars as pl
import pytest
import yaml

from recsys.config import load_configuration
from recsys.events.ingest import ingest
from recsys.sessions.build import build_sessions
from recsys.sessions.encode import encode_window
from recsys.sessions.split import Cuts

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("RECSYS_DATA_DIR", ROOT.parent / "shared" / "data"))
LOG = DATA / "retailrocket_sequences" / "events.csv.gz"
GAP, WEEK = 30 * 60_000, 7 * 86_400_000

pytestmark = pytest.mark.skipif(
    not LOG.is_file(), reason="RECSYS_DATA_DIR (or ../shared/data) holds no retailrocket_sequences/events.csv.gz"
)


def prepared(log: Path, folder: Path, monkeypatch):
    """Sessions, catalogue and summary of a log, with the kept example configuration."""
    monkeypatch.setenv("RECSYS_DATA_DIR", str(DATA))
    configuration = load_configuration(yaml.safe_load((ROOT / "examples" / "retailrocket_sequences.yaml").read_text()))
    events = folder / "part.parquet"
    ingest(log, configuration.source, configuration.checks, events, folder / "quarantine.parquet", folder / "quality.json")
    return configuration, *build_sessions([events], [], configuration.sessions, configuration.split)


def window(prepared_log, name: str):
    configuration, sessions, catalogue, summary = prepared_log
    return encode_window(sessions, catalogue, Cuts(**summary["cuts"]), name, configuration.filter, configuration.split.protocol)


def test_the_published_sessions_come_back(tmp_path, monkeypatch):
    items, train, test, counts = window(prepared(LOG, tmp_path, monkeypatch), "final")
    assert (train.height, int(train["items"].list.len().sum())) == (126_168, 685_984)
    assert (test.height, counts["predictions"]) == (4_735, 19_867)
    assert items.height == 36_968
    published = pl.read_parquet(DATA / "retailrocket_sequences" / "train.parquet")["items"]
    decoded = train["items"].explode().replace_strict(items["index"], items["item_id"])
    assert int(decoded.hash(1).sum()) == int(published.explode().cast(pl.Int64).hash(1).sum())
    assert sorted(train["items"].list.len()) == sorted(published.list.len())


def test_merged_visitors_give_what_polars_gives(tmp_path, monkeypatch):
    log = pl.read_csv(LOG).with_columns(pl.col("visitorid") % 20_000)
    merged = tmp_path / "merged.csv"
    log.write_csv(merged)
    prepared_log = prepared(merged, tmp_path, monkeypatch)
    _, sessions, catalogue, _ = prepared_log

    ordered = log.with_row_index("row").sort("visitorid", "timestamp", "row")
    new = (pl.col("visitorid").diff() != 0) | (pl.col("timestamp").diff() > GAP)
    ordered = ordered.with_columns(new.fill_null(True).cum_sum().alias("session"))
    expected = (
        ordered.group_by("session", maintain_order=True)
        .agg("visitorid", "timestamp", "itemid", "row")
        .with_columns(pl.col("visitorid", "row").list.first(), pl.col("timestamp").list.first().alias("start"))
        .sort("start", "row")
    )
    decoded = sessions["items"].list.eval(pl.element().replace_strict(catalogue["code"], catalogue["item_id"], return_dtype=pl.Int64))
    assert decoded.to_list() == expected["itemid"].to_list()
    assert sessions["visitor_id"].to_list() == expected["visitorid"].to_list()
    assert sessions["times"].list.eval(pl.element().cast(pl.Int64)).to_list() == expected["timestamp"].to_list()

    cut = int(log["timestamp"].max()) - WEEK
    known = ordered.with_columns(pl.col("timestamp").min().over("session").alias("start"))
    train = known.filter((pl.col("start") < cut) & (pl.col("timestamp") < cut)).filter(pl.len().over("session") >= 2)
    items, ours, test, counts = window(prepared_log, "final")
    assert int(ours["items"].list.len().sum()) == train.height
    assert ours.height == train["session"].n_unique()
    vocabulary = set(train["itemid"].unique())
    assert set(items["item_id"]) == vocabulary
    held_out = known.filter((pl.col("start") >= cut) & pl.col("itemid").is_in(vocabulary)).filter(pl.len().over("session") >= 2)
    assert test.height == held_out["session"].n_unique()
    assert counts["predictions"] == held_out.height - test.height
