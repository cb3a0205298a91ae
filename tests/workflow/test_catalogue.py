"""The catalogue in the workflow: built where a source knows something of its items, and otherwise not missed."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from recsys.catalogue.lookup import item_depths, names

ROOT = Path(__file__).resolve().parents[2]
LOG = "user,product,time\n1,7,2024-05-01\n1,8,2024-05-01\n"


def planned(folder: Path, catalogue: dict | None) -> str:
    """What a dry run of a shop's own log says."""
    (folder / "log.csv").write_text(LOG)
    (folder / "items.csv").write_text("product,title,group\n7,Pan,pans\n")
    (folder / "tree.csv").write_text("group,part_of\npans,\n")
    source = {"type": "files", "paths": "log.csv", "columns": {"visitor": "user", "item": "product", "timestamp": "time"}}
    shop = {
        "shop": "own",
        "source": source | ({"catalogue": catalogue} if catalogue else {}),
        "runs": {"popularity": {"model": "popularity"}},
    }
    (folder / "shop.yaml").write_text(yaml.safe_dump(shop))
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    done = subprocess.run(
        [
            snakemake,
            "--snakefile",
            str(ROOT / "Snakefile"),
            "--directory",
            str(folder),
            "--configfile",
            "shop.yaml",
            "-n",
            "--quiet",
            "host",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


ITEMS = {"paths": "items.csv", "columns": {"item": "product", "name": "title", "category": "group"}}
TREE = {"path": "tree.csv", "columns": {"category": "group", "parent": "part_of"}}


@pytest.mark.parametrize(
    ("catalogue", "files"),
    [
        (None, None),
        ({"items": ITEMS, "categories": TREE}, "items.csv, tree.csv, results/events/log.parquet"),
    ],
)
def test_a_shops_own_item_files_are_read_where_they_are_named(tmp_path, catalogue, files):
    said = planned(tmp_path, catalogue)
    assert ("rule build_catalogue" in said) == (catalogue is not None)
    assert files is None or f"input: {files}\n" in said


def test_the_demo_shops_items_have_names_and_categories(finished):
    properties = pl.read_parquet(finished.results("catalogue/properties.parquet"))
    categories = pl.read_parquet(finished.results("catalogue/categories.parquet"))
    sold = set(pl.read_parquet(finished.results("sessions/catalogue.parquet"))["item_id"])
    assert sold <= set(names(properties))
    assert item_depths(properties, categories)["depth"].unique().to_list() == [2]
