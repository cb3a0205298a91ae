"""The demo shop's generator: the same seed, the same bytes; the scale that was asked for; and a log with the blemishes of a real one."""

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.errors import ConfigurationError
from recsys.events.sources.demo import COLUMNS, DAY_MS, START_MS, build_shop, generate, write_demo
from recsys.events.sources.demo_layout import LAYOUT
from recsys.settings.source import DemoSource

SMALL = DemoSource(events=6_000, items=300, visitors=900, days=8, parts=3)


def written(settings: DemoSource, folder: Path, suffix: str = "csv") -> list[Path]:
    paths = [folder / f"part{number}.{suffix}" for number in range(settings.parts)]
    write_demo(settings, paths)
    return paths


def log(settings: DemoSource) -> pl.DataFrame:
    return pl.concat([chunk for _, chunk in generate(settings)]).with_columns(pl.col("event").cast(pl.String))


@pytest.fixture(scope="module")
def small() -> pl.DataFrame:
    return log(SMALL)


@pytest.fixture(scope="module")
def default() -> pl.DataFrame:
    return log(DemoSource())


def sessions_of(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows by visitor and time, with the number of the session (30 minutes) and without repeats."""
    rows = rows.sort("visitor", "timestamp", maintain_order=True)
    new = (pl.col("timestamp").diff() > 30 * 60_000) | (pl.col("visitor").diff() != 0)
    rows = rows.with_columns(session=new.fill_null(True).cum_sum())
    return rows.filter(((pl.col("item").diff() != 0) | (pl.col("session").diff() != 0)).fill_null(True))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_same_seed_gives_the_same_bytes(tmp_path, suffix):
    once, again = written(SMALL, tmp_path / "a", suffix), written(SMALL, tmp_path / "b", suffix)
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


def test_another_seed_gives_another_log(tmp_path):
    once, other = written(SMALL, tmp_path / "a"), written(SMALL.model_copy(update={"seed": 2}), tmp_path / "b")
    assert all(one.read_bytes() != two.read_bytes() for one, two in zip(once, other, strict=True))


def test_the_csv_has_the_columns_of_its_layout(tmp_path):
    path = written(SMALL, tmp_path)[0]
    assert path.read_text().splitlines()[0] == "timestamp,visitor,event,item,price,quantity"
    assert {column for _, column in LAYOUT.columns if column is not None} == set(COLUMNS)


def test_csv_and_parquet_hold_the_same_events(tmp_path):
    csv = pl.concat([pl.read_csv(path, infer_schema=False, truncate_ragged_lines=True) for path in written(SMALL, tmp_path)])
    parquet = pl.concat([pl.read_parquet(path) for path in written(SMALL, tmp_path, "parquet")])
    readable = csv.filter(pl.col("item").is_not_null() & (pl.col("event") != "hover") & ~pl.col("timestamp").str.contains("late"))
    same = readable.cast(dict(parquet.schema))
    # The rows with a field too many look sound once that is cut off; they are all that is left over.
    assert same.height - parquet.height == SMALL.parts
    assert same.join(parquet, on=list(COLUMNS), how="anti").height == 0


def test_the_scale_is_the_one_asked_for(small):
    assert small.height == pytest.approx(SMALL.events, rel=0.06)
    assert small["item"].n_unique() <= SMALL.items
    assert small["item"].n_unique() > 0.8 * SMALL.items
    assert small["visitor"].n_unique() <= SMALL.visitors
    assert small["visitor"].n_unique() > 0.4 * SMALL.visitors
    twice = log(SMALL.model_copy(update={"events": 12_000}))
    assert twice.height == pytest.approx(2 * small.height, rel=0.06)


@pytest.mark.parametrize(
    "settings", [{"events": 1_000, "items": 50, "visitors": 10, "days": 4, "parts": 7}, {"events": 1_000, "parts": 40}]
)
def test_extreme_scales_are_generated_too(settings):
    settings = DemoSource(**settings)
    assert log(settings).height == pytest.approx(1_000, rel=0.25)


def test_ids_are_no_row_numbers():
    shop = build_shop(SMALL)
    assert len(np.unique(shop.ids)) == SMALL.items
    assert shop.ids.min() >= 10_000
    assert np.any(np.diff(shop.ids) < 0)


def test_the_log_spans_its_days(small):
    times = small["timestamp"]
    assert START_MS <= times.min() < START_MS + DAY_MS / 4
    assert START_MS + (SMALL.days - 0.25) * DAY_MS < times.max() < START_MS + SMALL.days * DAY_MS


def test_parts_follow_one_another_in_time():
    per_part = {part: [] for part in range(SMALL.parts)}
    for part, chunk in generate(SMALL):
        per_part[part].append(chunk["timestamp"].median())
    spans = [(min(filter(None, medians)), max(filter(None, medians))) for medians in per_part.values()]
    assert all(earlier[1] < later[0] for earlier, later in itertools.pairwise(spans))


def test_most_events_are_views_and_carts_and_purchases_follow_them(default):
    shares = dict(default["event"].value_counts(normalize=True).iter_rows())
    assert shares["view"] == pytest.approx(0.85, abs=0.01)
    assert shares["cart"] > shares["purchase"] > 0.02
    rows = default.unique().sort("visitor", "timestamp")
    before = rows.with_columns(same=(pl.col("item").diff() == 0) & (pl.col("visitor").diff() == 0), last=pl.col("event").shift())
    # Where two visits of a visitor overlap, a row of the one can come between two of the other.
    carts, purchases = before.filter(pl.col("event") == "cart"), before.filter(pl.col("event") == "purchase")
    assert carts.select((pl.col("same") & (pl.col("last") == "view")).mean()).item() > 0.98
    assert purchases.select((pl.col("same") & (pl.col("last") == "cart")).mean()).item() > 0.98


def test_some_events_are_late_and_some_come_twice(default):
    late = (default["timestamp"].cum_max() - default["timestamp"] > 60_000).mean()
    assert 0.003 < late < 0.008
    assert 0.003 < 1 - default.unique().height / default.height < 0.007


def test_every_csv_part_has_rows_that_cannot_be_read(tmp_path):
    for path in written(SMALL, tmp_path):
        rows = path.read_text().splitlines()[1:]
        fields = [row.split(",") for row in rows]
        assert any(len(row) > len(COLUMNS) for row in fields)
        assert any(row[3] == "" for row in fields)
        assert any(not row[0].isdigit() for row in fields)
        assert any(row[2] == "hover" for row in fields)
        assert sum(len(row) != len(COLUMNS) or row[3] == "" or not row[0].isdigit() or row[2] == "hover" for row in fields) < 10


def test_pauses_are_short_within_sessions_and_long_between_them(default):
    sessions = sessions_of(default)
    clicks = sessions.group_by("session").len()["len"]
    assert 4.5 < clicks.mean() < 6.5
    within = sessions.filter(pl.col("session").diff() == 0).height
    pauses = sessions.with_columns(pause=pl.col("timestamp").diff(), same=pl.col("visitor").diff() == 0, new=pl.col("session").diff() != 0)
    assert pauses.filter(~pl.col("new"))["pause"].median() < 120_000
    assert pauses.filter(pl.col("new") & pl.col("same"))["pause"].median() > 6 * 3_600_000
    assert within > 0


def test_popularity_is_skewed_and_drifts(default):
    counts = default.group_by("item").len().sort("len", descending=True)["len"]
    assert counts.head(len(counts) // 10).sum() > 0.25 * counts.sum()
    weeks = default.with_columns(week=(pl.col("timestamp") - START_MS) // (7 * DAY_MS)).group_by("week", "item").len()
    first, last = (weeks.filter(pl.col("week") == week).sort("len", "item", descending=True)["item"].head(50) for week in (0, 3))
    common = len(set(first) & set(last))
    assert 10 < common < 45


def test_the_log_is_sequential(default):
    """Followers of the last item say more than popularity, and those of the item before the last one add to it."""
    rows = sessions_of(default)
    cut = START_MS + 25 * DAY_MS
    items = {item: code for code, item in enumerate(rows["item"].unique().sort())}
    code = rows["item"].replace_strict(items, return_dtype=pl.Int64).to_numpy()
    session, train = rows["session"].to_numpy(), (rows["timestamp"] < cut).to_numpy()
    follows = np.zeros((2, len(items), len(items)), dtype=np.float32)
    for distance in (1, 2):
        pair = (session[distance:] == session[:-distance]) & train[distance:]
        np.add.at(follows[distance - 1], (code[:-distance][pair], code[distance:][pair]), 1)
    popular = np.bincount(code[train], minlength=len(items)).astype(np.float32)
    tie_break = popular / popular.sum() / 2
    queries = np.flatnonzero((session[2:] == session[:-2]) & ~train[2:]) + 2
    target, last, before = code[queries], code[queries - 1], code[queries - 2]

    def recall(scores: np.ndarray) -> float:
        of_target = np.take_along_axis(scores, target[:, None], axis=1)
        return float(((scores > of_target).sum(axis=1) < 20).mean())

    def shares(counts: np.ndarray) -> np.ndarray:
        return counts / (counts.sum(axis=1, keepdims=True) + 1)

    by_popularity = recall(np.broadcast_to(tie_break, (len(queries), len(items))))
    by_last = recall(follows[0][last] + tie_break)
    by_both = recall(shares(follows[0][last]) + shares(follows[1][before]) + 1e-3 * tie_break)
    assert 0.03 < by_popularity < 0.12
    assert 0.25 < by_last < 0.45
    assert by_both > by_last + 0.1


def test_as_many_paths_as_parts_are_needed(tmp_path):
    with pytest.raises(ConfigurationError, match=r"source\.parts is 3, but 1 files"):
        write_demo(SMALL, [tmp_path / "one.csv"])
    assert list(tmp_path.iterdir()) == []
