"""`recsys validate`: what it accepts, and what it says of raw files before anything runs."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from recsys.cli.application import main
from recsys.config import load_configuration

RUNS = {"pop": {"model": "popularity"}}
COLUMNS = {"visitor": "user", "item": "product", "timestamp": "time"}
LOG = "user,time,product,name\n1,1714564800000,5,tea\n"
ITEMS = {"paths": "log.csv", "columns": {"item": "product", "name": "name"}}
TREE = {"path": "tree.csv", "columns": {"category": "category", "parent": "parent"}}


@pytest.fixture
def validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `recsys validate` prints of a source, called in a folder with a log and a category tree."""
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text(LOG)
    Path("tree.csv").write_text("category,parent\ndrinks,\n")

    def call(source: dict, *options: str) -> str:
        Path("my-shop.yaml").write_text(yaml.safe_dump({"runs": RUNS, "source": source}))
        monkeypatch.setattr(sys, "argv", ["recsys", "validate", "my-shop.yaml", *options])
        with pytest.raises(SystemExit):
            main()
        printed = capsys.readouterr()
        return printed.err or printed.out

    return call


def files(**changed) -> dict:
    return {"type": "files", "paths": "log.csv", "columns": COLUMNS} | changed


def test_a_sound_configuration_is_told_with_what_would_run(validate):
    told = validate(files(catalogue={"items": ITEMS, "categories": TREE}))
    assert told == "my-shop.yaml: the shop demo, 1 part of a log, 1 run to train\n"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"columns": COLUMNS | {"timestamp": "tim"}},
            "log.csv: there is no column 'tim'; the file has user, time, product, name; correct source",
        ),
        ({"separator": ";"}, "log.csv: the whole header is one column, 'user,time,product,name'; set source.separator to ','"),
        ({"where": "nmae = 'tea'"}, "log.csv: there is no column 'nmae'"),
        ({"where": "product"}, "source.where: 'product' gives Int64, not true or false"),
        ({"format": "parquet"}, "log.csv cannot be read as Parquet"),
        ({"catalogue": {"items": ITEMS | {"columns": {"item": "product", "name": "nam"}}}}, "source.catalogue.items.columns.name"),
        (
            {"catalogue": {"items": ITEMS | {"encoding": "latin-1", "separator": ";"}}},
            "log.csv: the whole header is one column, 'user,time,product,name'; set source.catalogue.items.separator to ','",
        ),
        (
            {"catalogue": {"categories": TREE | {"columns": {"category": "category", "parent": "mother"}}}},
            "tree.csv: there is no column 'mother'",
        ),
    ],
)
def test_a_layout_that_does_not_fit_a_file_is_told(validate, changed, told):
    assert told in validate(files(**changed))


def test_only_the_first_rows_are_read(validate):
    Path("log.csv").write_bytes(LOG.encode() * 20_000 + b"\xff\xff\n")
    assert "1 part of a log" in validate(files())


def test_paths_start_in_the_given_folder(validate):
    Path("shops/garden").mkdir(parents=True)
    source = files(paths="../../log.csv")
    assert "no file matches '../../log.csv'" in validate(source)
    assert "1 part of a log" in validate(source, "--directory", "shops/garden")


def test_files_that_are_not_there_yet_are_not_looked_into(validate):
    told = validate({"type": "retailrocket"})
    assert told.endswith("4 raw files will be made or fetched by the workflow, and were not looked into\n")


def test_a_published_file_that_is_there_is_looked_into(validate):
    file = next(iter(load_configuration({"runs": RUNS, "source": {"type": "retailrocket"}}).parts.values()))
    Path(file.path).parent.mkdir(parents=True)
    Path(file.path).write_text("a,b\n1,2\n")
    told = validate({"type": "retailrocket"})
    assert f"recsys: {file.path}: there are no columns" in told
    assert "fetch it again from" in told


def test_a_generated_file_is_left_to_the_workflow(validate):
    Path("results/raw").mkdir(parents=True)
    Path("results/raw/demo-0000.csv").write_text("a,b\n1,2\n")
    assert "6 raw files will be made or fetched" in validate({"type": "demo"})
