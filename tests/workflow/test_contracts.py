"""docs/data-contracts.md against the files that a tiny shop leaves: every column, type and key, in both directions."""

import csv
import json
import re
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "data-contracts.md").read_text()
NOT_HANDED_ON = (
    "raw/*",
    "report/*",
    "logs/*",
    "benchmarks/*",
    "work/*",
    "mlflow/*",
    "champion/package/*",
    "champion/export/*",
    "*/model/*",
)
"""Folders whose content is not a table of a stage; the manifests in them are documented all the same."""


@dataclass
class Contract:
    """One heading of the page: the files it is about, and its table."""

    patterns: list[str]
    text: str
    rows: list[list[str]] = field(default_factory=list)

    @property
    def named(self) -> dict[str, list[str]]:
        """Rows of one column or key, by its name; the others stand for several, such as *each metric@K*."""
        return {row[0].strip("`"): row for row in self.rows if row[0].startswith("`")}

    @property
    def several(self) -> list[list[str]]:
        return [row for row in self.rows if row[0].startswith("*")]


def contracts() -> list[Contract]:
    found = []
    for section in re.split(r"(?m)^## ", PAGE)[1:]:
        heading, text = section.split("\n", 1)
        patterns = [re.sub(r"\{\w+\}", "*", name) for name in re.findall(r"`([^`]+)`", heading)]
        lines = [line for line in text.splitlines() if line.startswith("|")]
        rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
        found.append(Contract(patterns, text, rows))
    return found


CONTRACTS = contracts()


def matching(contract: Contract, files: list[str]) -> list[str]:
    # The longest pattern of the page that matches a file is the one about it: {part}.parquet is not {part}.quarantine.parquet.
    longest = {name: max((p for c in CONTRACTS for p in c.patterns if fnmatch(name, p)), key=len, default=None) for name in files}
    return [name for name in files if longest[name] in contract.patterns]


@pytest.fixture(scope="module")
def files(finished) -> list[str]:
    folder = finished.results("")
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def type_name(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.List):
        return f"List({type_name(dtype.inner)})"
    if isinstance(dtype, pl.Datetime):
        return f"Datetime({dtype.time_unit}, {dtype.time_zone})"
    return str(dtype)


def test_every_file_that_is_handed_on_is_documented(files):
    known = [pattern for contract in CONTRACTS for pattern in contract.patterns]
    handed = [name for name in files if not any(fnmatch(name, folder) for folder in NOT_HANDED_ON)]
    assert handed
    assert [name for name in handed if not any(fnmatch(name, pattern) for pattern in known)] == []


def test_every_documented_file_is_there_or_says_when(files):
    for contract in CONTRACTS:
        assert contract.rows, contract.patterns
        for pattern in contract.patterns:
            there = any(fnmatch(name, pattern) for name in files)
            assert there or "Only where" in contract.text, f"{pattern} is documented, and no run leaves it"


@pytest.mark.parametrize("contract", [c for c in CONTRACTS if c.patterns[0].endswith(".parquet")], ids=lambda c: c.patterns[0])
def test_tables_have_the_documented_columns(contract, finished, files):
    for name in matching(contract, files):
        table = pl.read_parquet(finished.results(name))
        documented = [column for column in contract.named if column in table.columns]
        assert [column for column in table.columns if column in contract.named] == documented, f"the order of {name}'s columns"
        for column, (_, types, _, meaning) in contract.named.items():
            assert column in table.columns or "only" in meaning or "there only where" in meaning, f"{name} lacks {column}"
            if column in table.columns:
                assert type_name(table.schema[column]) in re.findall(r"`([^`]+)`", types), f"{name}: {column}"
        further = set(table.columns) - set(contract.named)
        allowed = {kind for row in contract.several for kind in re.findall(r"`([^`]+)`", row[1])}
        assert {type_name(table.schema[column]) for column in further} <= allowed, f"{name} also has {sorted(further)}"


@pytest.mark.parametrize("contract", [c for c in CONTRACTS if c.patterns[0].endswith(".parquet")], ids=lambda c: c.patterns[0])
def test_columns_that_are_never_null_are_not(contract, finished, files):
    never = {column for column, row in contract.named.items() if row[2] == "no"}
    for name in matching(contract, files):
        table = pl.read_parquet(finished.results(name))
        assert [column for column in table.columns if column in never and table[column].null_count()] == [], name


@pytest.mark.parametrize("contract", [c for c in CONTRACTS if c.patterns[0].endswith(".json")], ids=lambda c: c.patterns[0])
def test_json_files_have_the_documented_keys(contract, finished, files):
    kinds = {
        "text": str,
        "whole number": int,
        "number": (int, float),
        "object": dict,
        "list": list,
        "true or false": bool,
        "null": type(None),
    }
    for name in matching(contract, files):
        content = json.loads(finished.results(name).read_text())
        assert set(content) <= set(contract.named), f"{name} also has {sorted(set(content) - set(contract.named))}"
        for key, (_, types, meaning) in contract.named.items():
            assert key in content or "only" in meaning, f"{name} lacks {key}"
            if key in content:
                said = re.findall("|".join(sorted(kinds, key=len, reverse=True)), types)
                assert any(isinstance(content[key], kinds[kind]) for kind in said), f"{name}: {key} is {content[key]!r}"


@pytest.mark.parametrize("contract", [c for c in CONTRACTS if c.patterns[0].endswith(".csv")], ids=lambda c: c.patterns[0])
def test_csv_files_have_the_documented_columns(contract, finished, files):
    for name in matching(contract, files):
        with finished.results(name).open() as file:
            rows = list(csv.DictReader(file))
        assert [column for column in rows[0] if column in contract.named] == list(contract.named), name
        assert contract.several or set(rows[0]) == set(contract.named), name
        never = [column for column, row in contract.named.items() if row[2] == "no"]
        assert [column for column in never if any(row[column] == "" for row in rows)] == [], name


def test_order_and_guarantees_hold(finished):
    def table(name: str) -> pl.DataFrame:
        return pl.read_parquet(finished.results(name))

    sessions, catalogue = table("sessions/sessions.parquet"), table("sessions/catalogue.parquet")
    assert sessions["start"].is_sorted()
    assert sessions["session_id"].to_list() == list(range(sessions.height))
    assert catalogue["code"].to_list() == list(range(catalogue.height))
    lengths = sessions.select(pl.col("items", "times", "events").list.len())
    assert (lengths["items"] == lengths["times"]).all()
    assert (lengths["items"] == lengths["events"]).all()
    assert lengths["items"].min() >= 1
    assert sessions["times"].list.eval(pl.element().diff().dt.total_milliseconds().min()).explode().drop_nulls().min() >= 0
    cuts = json.loads(finished.results("sessions/summary.json").read_text())["cuts"]
    for window, held_out, cut in (("select", "valid", cuts["valid"]), ("final", "test", cuts["test"])):
        items, train, rest = (
            table(f"fit/{window}/items.parquet"),
            table(f"fit/{window}/train.parquet"),
            table(f"fit/{window}/{held_out}.parquet"),
        )
        assert items["index"].to_list() == list(range(items.height))
        assert items["support"].is_sorted(descending=True)
        assert train["times"].explode().cast(pl.Int64).max() < cut <= rest["start"].cast(pl.Int64).min()
        assert min(train["items"].list.len().min(), rest["items"].list.len().min()) >= 2
        ranked = table("runs/gru.seed1/ranks.parquet" if window == "select" else "champion/ranks.parquet")
        assert (ranked["rank"] >= 1).all()
        assert ranked["session"].max() < rest.height


def test_the_parser_reads_the_page():
    assert len(CONTRACTS) > 20
    by_pattern = {pattern: contract for contract in CONTRACTS for pattern in contract.patterns}
    assert by_pattern["events/*.parquet"].named["timestamp"][1:3] == ["`Datetime(ms, UTC)`", "no"]
    assert [row[0] for row in by_pattern["runs/*/history.parquet"].several] == ["*each metric@K*"]
