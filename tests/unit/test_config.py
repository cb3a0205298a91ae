"""The configuration: what it accepts, and how it says what is wrong."""

import json
from pathlib import Path

import pytest
import yaml

from recsys.config import BASELINE_FAMILIES, PARAMETERS, SEEDED_FAMILIES, json_schema, load_configuration
from recsys.errors import ConfigurationError
from recsys.models.registry import FAMILIES, model_class
from recsys.settings.base import format_duration, parse_duration

ROOT = Path(__file__).resolve().parents[2]
BASE = {"runs": {"pop": {"model": "popularity"}}}


def test_the_shipped_configurations_are_valid(monkeypatch, tmp_path):
    monkeypatch.setenv("RECSYS_DATA_DIR", str(tmp_path))
    shipped = [ROOT / "workflow_config.yaml", *sorted((ROOT / "examples").glob("*.yaml"))]
    assert len(shipped) >= 3
    for path in shipped:
        load_configuration(yaml.safe_load(path.read_text()))


def test_the_written_schema_is_the_generated_one():
    written = json.loads((ROOT / "schemas" / "configuration.schema.json").read_text())
    assert written == json_schema()


def test_families_are_the_same_everywhere():
    assert set(PARAMETERS) == set(FAMILIES)
    for family in FAMILIES:
        kind = model_class(family)
        assert kind.parameters_class is PARAMETERS[family]
        assert kind.capabilities.seeded == (family in SEEDED_FAMILIES)
        assert (family in BASELINE_FAMILIES) == (kind.capabilities.runtime == "native")


def test_a_run_overrides_its_family_and_has_a_job_a_seed():
    configuration = load_configuration(
        {
            "models": {"gru4rec": {"layers": [8], "batch_size": 16}},
            "runs": {"pop": {"model": "popularity"}, "small": {"model": "gru4rec", "seeds": [3, 4], "parameters": {"layers": [4]}}},
        }
    )
    assert list(configuration.grid) == ["pop", "small.seed3", "small.seed4"]
    small = configuration.grid["small.seed4"]
    assert (small.seed, small.parameters.layers, small.parameters.batch_size) == (4, [4], 16)
    assert configuration.baselines == ["pop"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"sesions": {}}, ["sesions", "did you mean 'sessions'"]),
        ({"sessions": {"gapp": "1h"}}, ["sessions.gapp", "did you mean 'gap'"]),
        ({"sessions": {"gap": "3 parsecs"}}, ["sessions.gap", "'3 parsecs'", "'30m'"]),
        ({"sessions": {"gap": 30}}, ["sessions.gap", "'30m'"]),
        (
            {"source": {"type": "files", "paths": "a.csv", "columns": {"visitor": "v", "itm": "i", "timestamp": "t"}}},
            ["source.columns.itm", "did you mean 'item'?"],
        ),
        ({"split": {"test": 1.5}}, ["split.test", "1.5", "'7d'"]),
        ({"split": {"valid": 0}}, ["split.valid", "'7d'"]),
        ({"source": {"type": "kafka"}}, ["source", "'kafka'", "'demo', 'files'"]),
        ({"training": {"patience": "soon"}}, ["training.patience", "'soon'", "a whole number"]),
        ({"runs": {"pop": {"model": "popular"}}}, ["runs.pop.model", "'popular'", "popularity"]),
        ({"runs": {"g": {"model": "gru4rec"}}}, ["no baseline", "popularity"]),
        ({"runs": BASE["runs"] | {"g": {"model": "gru4rec", "parameters": {"layer": [3]}}}}, ["runs.g.parameters.layer", "'layers'"]),
        ({"runs": BASE["runs"] | {"g": {"model": "gru4rec", "seeds": [1, 1]}}}, ["runs.g.seeds", "twice"]),
        (
            {"source": {"type": "files", "paths": "a.csv", "columns": {"visitor": "u", "item": "u", "timestamp": "t"}}},
            ["'u'", "'item'", "'visitor'"],
        ),
        ({"source": {"type": "files", "paths": "a.csv", "columns": {"item": "i", "timestamp": "t"}}}, ["visitor", "session"]),
    ],
)
def test_a_mistake_is_told_with_key_value_and_fix(changed, told):
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(BASE | changed)
    for text in told:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parts_are_named_after_their_files_and_never_twice(tmp_path):
    for name in ("a/day.csv", "b/day.csv", "b/test.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    columns = {"visitor": "v", "item": "i", "timestamp": "t"}
    source = {"type": "files", "paths": f"{tmp_path}/*/day.csv", "test_paths": [f"{tmp_path}/b/test.csv"], "columns": columns}
    parts = load_configuration(BASE | {"source": source}).parts
    assert [(part.name, part.held_out) for part in parts.values()] == [("day", False), ("day-2", False), ("test", True)]


def test_a_test_log_that_is_trained_on_is_refused(tmp_path):
    for name in ("a.csv", "test.csv"):
        (tmp_path / name).write_text("x")
    columns = {"visitor": "v", "item": "i", "timestamp": "t"}
    source = {"type": "files", "paths": f"{tmp_path}/*.csv", "test_paths": [f"{tmp_path}/../{tmp_path.name}/test.csv"], "columns": columns}
    with pytest.raises(ConfigurationError, match=r"both hold .*test\.csv"):
        _ = load_configuration(BASE | {"source": source}).parts


def test_a_path_without_a_file_is_told(tmp_path, monkeypatch):
    columns = {"visitor": "v", "item": "i", "timestamp": "t"}
    configuration = load_configuration(BASE | {"source": {"type": "files", "paths": f"{tmp_path}/none.csv", "columns": columns}})
    with pytest.raises(ConfigurationError, match=r"source.paths: no file matches .*none.csv"):
        _ = configuration.parts
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    configuration = load_configuration(BASE | {"source": {"type": "files", "paths": "${NOT_SET_HERE}/a.csv", "columns": columns}})
    with pytest.raises(ConfigurationError, match="environment variable that is not set"):
        _ = configuration.parts


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("30m", 1_800_000), ("1h30m", 5_400_000), ("7d", 604_800_000), (2500, 2500), ("1.5s", 1500)]
)
def test_durations(text, milliseconds):
    assert parse_duration(text) == milliseconds
    assert parse_duration(format_duration(milliseconds)) == milliseconds
