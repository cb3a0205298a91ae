"""What README.md promises to someone with a log of their own."""

import gzip
import re
from pathlib import Path

import polars as pl
import yaml

from recsys.config import load_configuration
from recsys.events.ingest import ingest
from recsys.settings.checks import QuarantinedCheck

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_the_example_of_an_own_log_is_read_as_it_says(tmp_path, monkeypatch):
    example = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1]
    configuration = load_configuration(yaml.safe_load(example))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    pl.DataFrame(
        {
            "user": ["ann", "ann", None],
            "product": [501, 502, 503],
            "time": [1_700_000_000, 1_700_000_060, 1_700_000_120],
            "action": ["show", "buy", "add"],
        }
    ).write_csv(tmp_path / "logs" / "monday.csv")
    (tmp_path / "logs" / "monday.csv.gz").write_bytes(gzip.compress((tmp_path / "logs" / "monday.csv").read_bytes()))
    (part,) = configuration.parts.values()
    checks = configuration.checks.model_copy(update={"quarantined": QuarantinedCheck(threshold=0.5)})
    ingest(Path(part.path), configuration.source, checks, tmp_path / "e.parquet", tmp_path / "q.parquet", tmp_path / "q.json")
    events = pl.read_parquet(tmp_path / "e.parquet")
    assert events["event"].to_list() == ["view", "purchase"]
    assert events["item_id"].to_list() == [501, 502]
    assert events["timestamp"].dt.epoch("ms").to_list() == [1_700_000_000_000, 1_700_000_060_000]
    refused = pl.read_parquet(tmp_path / "q.parquet")
    assert refused["row"].to_list() == [3]
    assert set(configuration.grid) == {"gru4rec.seed1", "gru4rec.seed2", "item-to-item", "popularity"}


def test_every_file_it_points_to_exists():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) >= 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_goal_it_names_is_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    goals = set(re.findall(r"(?m)(?:^|`)(?:TORCH_BACKEND=cpu )?make (\w+)", README))
    assert {"run", "test"} <= goals
    assert [goal for goal in goals if not re.search(rf"(?m)^{goal}:", makefile)] == []


def test_its_figures_are_those_of_the_results():
    results = (ROOT / "docs" / "results.md").read_text()
    rows = re.findall(r"(?m)^\|[^|]*(?:\| \.\d{4} ){5}\|$", README)
    assert len(rows) >= 3
    assert [row for row in rows if row not in results] == []
    command = re.search(r"RECSYS_DATA_DIR=.*retailrocket_sequences.yaml", README)[0]
    assert command in results
