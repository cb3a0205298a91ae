"""The configuration: what it accepts, and how it says what is wrong."""

import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from recsys.config import BASELINE_FAMILIES, COMBINED_FAMILIES, PARAMETERS, SEEDED_FAMILIES, json_schema, load_configuration
from recsys.configuration_errors import sentence
from recsys.errors import ConfigurationError
from recsys.models.registry import FAMILIES, model_class
from recsys.settings.base import Section, format_duration, parse_duration

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
        # Served by its own code, but tuned like a network, and no baseline that every champion is to be compared with.
        assert (family in BASELINE_FAMILIES or family == "session_knn") == (kind.capabilities.runtime == "native")
        assert (family in COMBINED_FAMILIES) == (kind.capabilities.runtime == "combined")


COMBINED = {
    "runs": {
        "blend": {"model": "blend", "members": ["net", "pop"], "seeds": [1, 2]},
        "net": {"model": "gru4rec", "seeds": [1, 2], "parameters": {"layers": [4]}},
        "pop": {"model": "popularity"},
    }
}


def test_a_blend_combines_the_runs_of_its_seed_and_comes_after_them():
    grid = load_configuration(COMBINED).grid
    assert list(grid) == ["net.seed1", "net.seed2", "pop", "blend.seed1", "blend.seed2"]
    second = grid["blend.seed2"]
    assert [member.id for member in second.members] == ["net.seed2", "pop"]
    told = second.settings["parameters"]["combines"]
    assert [(member["name"], member["run"], member["model"], member["seed"]) for member in told] == [
        ("net", "net.seed2", "gru4rec", 2),
        ("pop", "pop", "popularity", 0),
    ]
    assert told[0]["parameters"]["layers"] == [4]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"blend": {"model": "blend", "members": ["net", "pip"]}}, ["runs.blend.members", "'pip'", "net"]),
        ({"blend": {"model": "blend", "members": ["net"]}}, ["runs.blend.members", "two runs or more", "['net']"]),
        ({"blend": {"model": "blend", "members": ["net", "net"]}}, ["runs.blend.members", "each once"]),
        ({"blend": {"model": "blend"}}, ["runs.blend.members", "two runs or more"]),
        ({"blend": {"model": "blend", "members": ["net", "pop"], "seeds": [3]}}, ["runs.blend.members", "net has no run with seed 3"]),
        ({"top": {"model": "reranker", "members": ["blend", "pop"]}}, ["runs.top.members", "blend is itself a blend"]),
        ({"pop": {"model": "popularity", "members": ["net"]}}, ["runs.pop.members", "a popularity has no members"]),
        (
            {"blend": {"model": "blend", "members": ["net", "pop"], "parameters": {"combines": []}}},
            ["runs.blend.parameters.combines", "runs.blend.members"],
        ),
    ],
)
def test_members_that_cannot_be_combined_are_told(changed, told):
    with pytest.raises(ConfigurationError) as error:
        load_configuration({"runs": COMBINED["runs"] | changed})
    for words in told:
        assert words in str(error.value)


def test_a_search_of_a_blend_is_refused():
    with pytest.raises(ConfigurationError, match="no model family 'blend' to search"):
        load_configuration(COMBINED | {"tune": {"model": "blend"}})


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
        ({"split": {"test": 0.9, "valid": 0.1}}, ["split", "0.9", "0.1", "less than 1"]),
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


ITEMS = {"paths": "items.csv", "columns": {"item": "i", "name": "n"}}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"catalogue": {"itms": ITEMS}}, "source.catalogue.itms: there is no such key; did you mean 'items'?"),
        (
            {"catalogue": {"items": ITEMS | {"seperator": ";"}}},
            "source.catalogue.items.seperator: there is no such key; did you mean 'separator'?",
        ),
        (
            {"catalogue": {"items": ITEMS | {"columns": {"item": "i", "nmae": "n"}}}},
            "source.catalogue.items.columns.nmae: there is no such key; did you mean 'name'?",
        ),
        (
            {"catalogue": {"items": ITEMS | {"columns": {"itm": "i", "name": "n"}}}},
            "source.catalogue.items.columns.itm: there is no such key; did you mean 'item'?",
        ),
        (
            {"catalogue": {"categories": {"path": "tree.csv", "columns": {"category": "c", "zzz": "p"}}}},
            "source.catalogue.categories.columns.parent: this key is missing; add it",
        ),
        (
            {"catalogue": {"categories": {"path": "tree.csv", "columns": {"category": "c", "parent": "p", "zzz": "p"}}}},
            "source.catalogue.categories.columns.zzz: there is no such key; the keys here are category, parent",
        ),
    ],
)
def test_keys_in_sections_that_may_be_left_out_are_known(changed, told):
    source = {"type": "files", "paths": "a.csv", "columns": {"visitor": "v", "item": "i", "timestamp": "t"}}
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(BASE | {"source": source | changed})
    assert str(caught.value) == told


class Leaf(Section):
    colour: str


class Tree(Section):
    leaves: list[Leaf] | None = None
    by_name: dict[str, Leaf | None] | None = None


@pytest.mark.parametrize("content", [{"leaves": [{"color": "red"}]}, {"by_name": {"oak": {"color": "red"}}}])
def test_keys_in_lists_and_mappings_of_sections_are_known(content):
    with pytest.raises(ValidationError) as caught:
        Tree.model_validate(content)
    assert sentence(caught.value, "tree", Tree).endswith(".color: there is no such key; did you mean 'colour'?")


@pytest.mark.parametrize(
    ("unit", "meant"),
    [("seconds", "s"), ("sec", "s"), ("S", "s"), ("milliseconds", "ms"), ("Millis", "ms"), ("microseconds", "us"), ("nano", "ns")],
)
def test_a_unit_that_is_written_out_is_understood(unit, meant):
    assert f"did you mean {meant!r}?" in refused_unit(unit)


@pytest.mark.parametrize("unit", ["minutes", "mins", "m", "ns "])
def test_a_unit_that_there_is_not_is_told_with_those_that_there_are(unit):
    assert refused_unit(unit).endswith("write s, ms, us or ns")


def refused_unit(unit: str) -> str:
    """What is said about a unit."""
    columns = {"visitor": "v", "item": "i", "timestamp": "t"}
    source = {"type": "files", "paths": "a.csv", "columns": columns, "timestamps": {"unit": unit}}
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(BASE | {"source": source})
    return str(caught.value)


def test_shares_and_durations_of_the_log_may_be_mixed():
    assert load_configuration(BASE | {"split": {"test": 0.7, "valid": 0.2}}).split.test == 0.7
    assert load_configuration(BASE | {"split": {"test": "7d", "valid": 0.9}}).split.valid == 0.9


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
