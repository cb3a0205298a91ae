"""Public logs through the workflow: planned without a network, fetched from made-up servers, and read into sessions or all the way."""

import gzip
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.mirror import Mirror, serving
from tests.workflow.conftest import ROOT, Workflow, configure

T0 = 1_700_000_000_000
HOUR = 3_600_000
RUNS = {"item-to-item": {"model": "item_to_item"}, "popularity": {"model": "popularity"}}
Event = tuple[int, int, str, int]
SUMMARY = "results/sessions/summary.json"
SMOKE = "results/champion/smoke.json"


def made_up_log(visitors: int = 60, items: int = 30) -> list[Event]:
    """Visitor, item, event and time of some hundred events: everybody walks from item to item in a few sittings."""
    draw = random.Random(5)
    events: list[Event] = []
    for visitor in range(1, visitors + 1):
        for _ in range(3):
            time, item = T0 + draw.randrange(240) * HOUR, draw.randrange(items)
            for step in range(4):
                events.append((visitor, 100 + (item + step) % items, "view", time + step * 20_000))
            events.append((visitor, 100 + (item + 3) % items, "transaction" if draw.random() < 0.3 else "addtocart", time + 90_000))
    return sorted(events, key=lambda event: event[3])


LOG = made_up_log()


def retailrocket(log: list[Event]) -> dict[str, bytes]:
    lines = [f"{time},{visitor},{event},{item},{visitor if event == 'transaction' else ''}" for visitor, item, event, time in log]
    properties = [
        f"{T0 - HOUR},{item},{name},{value}" for item in range(100, 130) for name, value in (("categoryid", item % 3), ("888", "n1"))
    ]
    return {
        "events.csv": "\n".join(["timestamp,visitorid,event,itemid,transactionid", *lines, ""]).encode(),
        "item_properties_part1.csv": "\n".join(["timestamp,itemid,property,value", *properties[:30], ""]).encode(),
        "item_properties_part2.csv": "\n".join(["timestamp,itemid,property,value", *properties[30:], ""]).encode(),
        "category_tree.csv": b"categoryid,parentid\n0,9\n1,9\n2,9\n9,\n",
    }


def yoochoose(log: list[Event]) -> dict[str, bytes]:
    def text(time: int) -> str:
        return pl.Series([time]).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")[0]

    clicks = [f"{visitor},{text(time)},{item},0" for visitor, item, event, time in log if event == "view"]
    buys = [f"{visitor},{text(time)},{item},990,1" for visitor, item, event, time in log if event == "transaction"]
    return {"yoochoose-clicks.dat": "\n".join([*clicks, ""]).encode(), "yoochoose-buys.dat": "\n".join([*buys, ""]).encode()}


def amazon_reviews(log: list[Event]) -> dict[str, bytes]:
    def packed(events: list[Event]) -> bytes:
        rows = [
            {
                "rating": 5.0,
                "title": "t",
                "images": [],
                "asin": f"B{item}",
                "parent_asin": f"B{item}",
                "user_id": f"A{visitor}",
                "timestamp": time,
            }
            for visitor, item, _, time in events
        ]
        return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0)

    half = len(log) // 2
    return {"All_Beauty.jsonl.gz": packed(log[:half]), "Gift_Cards.jsonl.gz": packed(log[half:])}


def movielens(log: list[Event], folder: Path) -> dict[str, bytes]:
    ratings = [f"{visitor},{item},3.5,{time // 1000}" for visitor, item, _, time in log]
    with zipfile.ZipFile(folder / "made.zip", "w") as archive:
        archive.writestr("ml-latest-small/ratings.csv", "\n".join(["userId,movieId,rating,timestamp", *ratings, ""]))
        archive.writestr(
            "ml-latest-small/movies.csv", "movieId,title,genres\n" + "".join(f'{item},"Film, {item}",Comedy\n' for item in range(100, 130))
        )
    return {"ml-latest-small.zip": (folder / "made.zip").read_bytes()}


@pytest.fixture
def shop(checkout, tmp_path):
    """Configures a workflow of its own."""

    def make(source: dict, **more) -> Workflow:
        workflow = Workflow(checkout, tmp_path / "shop")
        configuration = {
            "shop": "made-up",
            "source": source,
            "runs": RUNS,
            "split": {"test": 0.2, "valid": 0.2},
            "filter": {"min_support": 1},
        }
        configure(workflow.folder, configuration | more)
        return workflow

    return make


@pytest.fixture
def mirror():
    with serving({}) as server:
        yield server


def fetched(mirror: Mirror) -> list[str]:
    return sorted(name for name, _, _ in mirror.seen)


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}


def summary(workflow: Workflow) -> dict:
    return json.loads((workflow.folder / SUMMARY).read_text())


@pytest.mark.parametrize("name", ["retailrocket", "yoochoose", "amazon_reviews", "movielens"])
def test_each_example_is_planned_without_files_network_or_credentials(name, tmp_path):
    command = [str(Path(sys.executable).with_name("snakemake")), "--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path)]
    command += ["-n", "--configfile", str(ROOT / "examples" / f"{name}.yaml")]
    nowhere = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(command, env=os.environ | nowhere | proxies, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    source = yaml.safe_load((ROOT / "examples" / f"{name}.yaml").read_text())["source"]["type"]
    assert source == name
    assert "download_log" in done.stdout
    assert "ingest_part" in done.stdout
    assert not (tmp_path / "results" / "raw").exists()


def test_retailrocket_goes_from_kaggle_to_a_package(shop, tmp_path):
    workflow = shop({"type": "retailrocket", "verify": False}, sessions={"clicks": ["view"]}, evaluation={"bootstrap": 100})
    files = tmp_path / "published"
    files.mkdir()
    for name, content in retailrocket(LOG).items():
        (files / name).write_bytes(content)
    # `python -m` looks in the working directory first: this stands for Kaggle's own client.
    client = workflow.folder / "kaggle"
    client.mkdir()
    (client / "__init__.py").write_text(
        "import pathlib, zipfile\n"
        "class Api:\n"
        "    def authenticate(self): pass\n"
        "    def dataset_download_file(self, dataset, file_name, path, force, quiet):\n"
        "        assert dataset == 'retailrocket/ecommerce-dataset'\n"
        "        with zipfile.ZipFile(pathlib.Path(path, file_name + '.zip'), 'w') as archive:\n"
        f"            archive.write(pathlib.Path({str(files)!r}, file_name), file_name)\n"
        "api = Api()\n"
    )
    workflow.run("--cores", "2", SMOKE)
    raw = workflow.results("raw/retailrocket")
    assert (raw / "events.csv").read_bytes() == (files / "events.csv").read_bytes()
    assert "CC BY-NC-SA 4.0" in workflow.results("logs/download/retailrocket/events.csv.log").read_text()
    views = [event for event in LOG if event[2] == "view"]
    assert summary(workflow)["events"]["log"] == len(LOG)
    assert summary(workflow)["clicks"] <= len(views)
    assert json.loads(workflow.results("champion/metrics.json").read_text())["predictions"] > 0
    assert workflow.results("champion/smoke.json").is_file()

    before = state(raw)
    again = workflow.run("-n", "--cores", "2", SMOKE)
    assert "Nothing to be done" in again.stdout + again.stderr
    assert state(raw) == before


def test_yoochoose_is_read_as_two_parts_of_one_sessionized_log(shop, mirror):
    mirror.files.update(yoochoose(LOG))
    workflow = shop({"type": "yoochoose", "url": mirror.url}, sessions={"clicks": ["view"]})
    workflow.run("--cores", "2", SUMMARY)
    assert fetched(mirror) == ["yoochoose-buys.dat", "yoochoose-clicks.dat"]
    found = summary(workflow)
    kept = [event for event in LOG if event[2] != "addtocart"]
    assert found["events"]["log"] == len(kept)
    assert found["sessions"] == len({visitor for visitor, *_ in kept})


def test_a_further_category_of_reviews_fetches_no_other_again(shop, mirror):
    mirror.files.update(amazon_reviews(LOG))
    source = {"type": "amazon_reviews", "categories": ["All_Beauty"], "url": mirror.url}
    shop(source).run("--cores", "2", SUMMARY)
    assert fetched(mirror) == ["All_Beauty.jsonl.gz"]
    workflow = shop(source | {"categories": ["All_Beauty", "Gift_Cards"]})
    workflow.run("--cores", "2", SUMMARY)
    assert fetched(mirror) == ["All_Beauty.jsonl.gz", "Gift_Cards.jsonl.gz"]
    assert summary(workflow)["events"]["log"] == len(LOG)


def test_movielens_comes_out_of_one_archive(shop, mirror, tmp_path):
    mirror.files.update(movielens(LOG, tmp_path))
    workflow = shop({"type": "movielens", "url": mirror.url})
    workflow.run("--cores", "2", SUMMARY, "results/raw/ml-latest-small/movies.csv")
    assert fetched(mirror) == ["ml-latest-small.zip"]
    assert summary(workflow)["events"]["log"] == len(LOG)
    assert not list(workflow.results("work/download").glob("*.zip"))


def test_a_file_in_a_folder_that_is_not_the_published_one_becomes_no_events(shop, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, content in retailrocket(LOG).items():
        (folder / name).write_bytes(content)
    before = state(folder)
    workflow = shop({"type": "retailrocket", "folder": str(folder)})
    done = workflow.run("--cores", "1", "results/events/events.parquet", check=False)
    assert done.returncode != 0
    told = workflow.results("logs/ingest/events.log").read_text()
    assert "events.csv is not the published file: it has" in told
    assert "source.verify: false" in told
    assert not workflow.results("events/events.parquet").exists()
    assert state(folder) == before


def test_a_download_that_is_cut_off_goes_on(shop, mirror):
    mirror.files.update(amazon_reviews(LOG))
    whole = len(mirror.files["All_Beauty.jsonl.gz"])
    mirror.cuts = [1_000]
    workflow = shop({"type": "amazon_reviews", "categories": ["All_Beauty"], "url": mirror.url})
    name = "All_Beauty.jsonl.gz"
    workflow.run("--cores", "1", f"results/raw/amazon_reviews_2023/{name}")
    assert mirror.seen == [(name, None, 1_000), (name, "bytes=1000-", whole - 1_000)]
