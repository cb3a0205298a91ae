"""Real logs through ingestion, sessions and fit windows with the kept examples, against independent Polars computations."""

import os
from pathlib import Path

import polars as pl
import pytest
import yaml

from recsys.catalogue.build import build_catalogue
from recsys.catalogue.lookup import categories_of, names
from recsys.config import load_configuration
from recsys.events.ingest import ingest
from recsys.files import read_json
from recsys.sessions.build import build_sessions
from recsys.sessions.encode import encode_window
from recsys.sessions.split import Cuts

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("RECSYS_DATA_DIR", ROOT.parent / "shared" / "data"))
LOG = DATA / "retailrocket_sequences" / "events.csv.gz"
RETAIL = DATA / "online_retail" / "online_retail.parquet"
TAOBAO = DATA / "taobao_slice" / "UserBehavior.csv.gz"
MINUTE, DAY = 60_000, 86_400_000
GAP, WEEK = 30 * MINUTE, 7 * DAY


def needs(path: Path):
    return pytest.mark.skipif(
        not path.is_file(), reason=f"RECSYS_DATA_DIR (or ../shared/data) holds no {path.relative_to(DATA).as_posix()}"
    )


def prepared(log: Path, folder: Path, monkeypatch, example: str = "retailrocket_sequences"):
    """Sessions, catalogue and summary of a log, with a kept example configuration."""
    monkeypatch.setenv("RECSYS_DATA_DIR", str(DATA))
    configuration = load_configuration(yaml.safe_load((ROOT / "examples" / f"{example}.yaml").read_text()))
    events = folder / "part.parquet"
    ingest(log, configuration.source, configuration.checks, events, folder / "quarantine.parquet", folder / "quality.json")
    return configuration, *build_sessions([events], [], configuration.sessions, configuration.split)


def window(prepared_log, name: str):
    configuration, sessions, catalogue, summary = prepared_log
    return encode_window(sessions, catalogue, Cuts(**summary["cuts"]), name, configuration.filter, configuration.split.protocol)


@needs(LOG)
def test_the_published_sessions_come_back(tmp_path, monkeypatch):
    items, train, test, counts = window(prepared(LOG, tmp_path, monkeypatch), "final")
    assert (train.height, int(train["items"].list.len().sum())) == (126_168, 685_984)
    assert (test.height, counts["predictions"]) == (4_735, 19_867)
    assert items.height == 36_968
    published = pl.read_parquet(DATA / "retailrocket_sequences" / "train.parquet")["items"]
    decoded = train["items"].explode().replace_strict(items["index"], items["item_id"])
    assert int(decoded.hash(1).sum()) == int(published.explode().cast(pl.Int64).hash(1).sum())
    assert sorted(train["items"].list.len()) == sorted(published.list.len())


@needs(LOG)
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


def sessionized(log: pl.DataFrame, gap: int) -> pl.DataFrame:
    """The log (`row`, `visitor`, `item`, `event`, `time`) by visitor and time, with each click's session and its start, without repeats."""
    ordered = log.sort("visitor", "time", "row")
    new = (pl.col("visitor").diff() != 0) | (pl.col("time").diff() > gap)
    ordered = ordered.with_columns(new.fill_null(True).cum_sum().alias("session"))
    ordered = ordered.with_columns(
        pl.col("time").first().over("session").alias("start"), pl.col("row").first().over("session").alias("first")
    )
    repeats = (pl.col("item") == pl.col("item").shift()) & (pl.col("session") == pl.col("session").shift())
    return ordered.filter(~repeats.fill_null(False))


def assert_same_sessions(prepared_log, clicks: pl.DataFrame) -> None:
    """Every session, click by click."""
    _, sessions, catalogue, summary = prepared_log
    expected = clicks.sort("start", "first", maintain_order=True)
    lengths = expected.group_by("session", maintain_order=True).len()["len"]
    assert sessions["items"].list.len().to_list() == lengths.to_list()
    assert sessions["visitor_id"].to_list() == expected.group_by("session", maintain_order=True).first()["visitor"].to_list()
    flat = sessions.select("items", "times", "events").explode("items", "times", "events")
    assert flat["items"].replace_strict(catalogue["code"], catalogue["item_id"]).to_list() == expected["item"].to_list()
    assert flat["times"].cast(pl.Int64).to_list() == expected["time"].to_list()
    names_of = dict(enumerate(summary["event_codes"]))
    assert flat["events"].replace_strict(names_of, return_dtype=pl.String).to_list() == expected["event"].to_list()


def assert_same_window(prepared_log, clicks: pl.DataFrame, before: int) -> None:
    """Training and test sessions of the final window, whose test part begins `before` milliseconds before the last click."""
    configuration, _, _, summary = prepared_log
    cut = int(clicks["time"].max()) - before
    assert summary["cuts"]["test"] == cut
    train = clicks.filter((pl.col("start") < cut) & (pl.col("time") < cut))
    left = 0
    while left != train.height:
        left = train.height
        train = train.filter(pl.len().over("item") >= configuration.filter.min_support).filter(pl.len().over("session") >= 2)
    items, ours, test, counts = window(prepared_log, "final")
    assert dict(items.select("item_id", "support").iter_rows()) == dict(train["item"].value_counts().iter_rows())

    def assert_same(sessions: pl.DataFrame, rows: pl.DataFrame) -> None:
        in_order = rows.sort("start", "first", maintain_order=True)
        assert sessions["items"].list.len().to_list() == in_order.group_by("session", maintain_order=True).len()["len"].to_list()
        assert sessions["items"].explode().replace_strict(items["index"], items["item_id"]).to_list() == in_order["item"].to_list()

    assert_same(ours, train)
    held_out = clicks.filter((pl.col("start") >= cut) & pl.col("item").is_in(items["item_id"].to_list()))
    held_out = held_out.filter(pl.len().over("session") >= 2)
    assert_same(test, held_out)
    assert counts["predictions"] == held_out.height - test.height


@needs(RETAIL)
def test_online_retail_gives_what_polars_gives(tmp_path, monkeypatch):
    prepared_log = prepared(RETAIL, tmp_path, monkeypatch, "online_retail")
    log = pl.read_parquet(RETAIL).with_row_index("row")
    cancelled = pl.col("InvoiceNo").str.starts_with("C") | (pl.col("Quantity") <= 0)
    article = pl.col("StockCode").str.slice(0, 5).str.contains(r"^\d+$") & (pl.col("StockCode").str.len_chars() >= 5)
    wanted = log.filter(~cancelled & article)
    known = wanted.filter(pl.col("CustomerID").is_not_null())

    quality = read_json(tmp_path / "quality.json")
    assert log["CustomerID"].null_count() == 135_080
    assert quality["quarantined"] == {"the visitor is missing": wanted["CustomerID"].null_count()}
    assert quality["left_out_by_where"] == log.height - wanted.height
    assert quality["events"] == known.height
    assert quality["event_counts"] == {"purchase": known.height}
    refused = pl.read_parquet(tmp_path / "quarantine.parquet")
    assert refused["row"].to_list() == (wanted.filter(pl.col("CustomerID").is_null())["row"].cast(pl.Int64) + 1).to_list()
    assert refused["reason"].unique().to_list() == ["the visitor is missing"]

    utc = pl.col("InvoiceDate").dt.replace_time_zone("Europe/London").dt.convert_time_zone("UTC").dt.epoch("ms")
    columns = {"visitor": pl.col("CustomerID").cast(pl.Int64), "item": "StockCode", "event": pl.lit("purchase"), "time": utc}
    clicks = sessionized(known.select("row", **columns), GAP)
    assert_same_sessions(prepared_log, clicks)
    assert_same_window(prepared_log, clicks, 14 * DAY)


def catalogued(log: Path, items: pl.Series, folder: Path, monkeypatch, example: str) -> pl.DataFrame:
    """The properties that an example's catalogue finds in the log itself."""
    monkeypatch.setenv("RECSYS_DATA_DIR", str(DATA))
    configuration = load_configuration(yaml.safe_load((ROOT / "examples" / f"{example}.yaml").read_text()))
    items.alias("item_id").to_frame().write_parquet(folder / "events.parquet")
    tables = folder / "properties.parquet", folder / "categories.parquet"
    _, warnings = build_catalogue([(log, configuration.source.catalogue.items)], None, folder / "events.parquet", *tables)
    assert warnings == []
    return pl.read_parquet(tables[0])


@needs(RETAIL)
def test_online_retail_names_its_items(tmp_path, monkeypatch):
    properties = catalogued(RETAIL, pl.read_parquet(RETAIL)["StockCode"], tmp_path, monkeypatch, "online_retail")
    named = pl.read_parquet(RETAIL).filter((pl.col("Quantity") > 0) & (pl.col("UnitPrice") > 0) & pl.col("CustomerID").is_not_null())
    # Of rows of one minute, the later one in the file holds.
    latest = named.with_row_index("row").sort("InvoiceDate", "row").group_by("StockCode").last()
    assert names(properties) == dict(latest.select("StockCode", pl.col("Description").str.strip_chars()).iter_rows())
    assert properties["valid_from"].null_count() == 0


@needs(TAOBAO)
def test_taobao_slice_gives_what_polars_gives(tmp_path, monkeypatch):
    prepared_log = prepared(TAOBAO, tmp_path, monkeypatch, "taobao_slice")
    log = pl.read_csv(TAOBAO, has_header=False, new_columns=["visitor", "item", "category", "event", "seconds"]).with_row_index("row")
    assert log.height == 96_168
    kinds = {"pv": "view", "fav": "favourite", "cart": "cart", "buy": "purchase"}
    log = log.with_columns(pl.col("event").replace_strict(kinds), (pl.col("seconds") * 1000).alias("time"))
    quality = read_json(tmp_path / "quality.json")
    assert quality["quarantined"] == {}
    assert quality["event_counts"] == dict(sorted(log["event"].value_counts().iter_rows()))

    clicks = sessionized(log.select("row", "visitor", "item", "event", "time"), GAP)
    assert_same_sessions(prepared_log, clicks)
    assert_same_window(prepared_log, clicks, 20 * MINUTE)


@needs(TAOBAO)
def test_taobao_slice_knows_its_categories(tmp_path, monkeypatch):
    log = pl.read_csv(TAOBAO, has_header=False, new_columns=["visitor", "item", "category", "event", "seconds"])
    properties = catalogued(TAOBAO, log["item"], tmp_path, monkeypatch, "taobao_slice")
    first = log.group_by("item", maintain_order=True).agg(pl.col("category").first().cast(pl.String), pl.col("seconds").first())
    assert dict(categories_of(properties).iter_rows()) == dict(first.select("item", "category").iter_rows())
    seen = properties.select("item_id", pl.col("valid_from").dt.epoch("s"))
    assert dict(seen.iter_rows()) == dict(first.select("item", "seconds").iter_rows())
