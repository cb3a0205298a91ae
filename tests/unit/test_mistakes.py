"""Mistakes that a user makes: each is told in the one sentence of docs/mistakes.md, ends with an error, and loses nothing."""

import gzip
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from recsys.cli.application import main
from recsys.cli.mishaps import told
from recsys.configuration_file import read_configuration
from recsys.errors import ConfigurationError, MemoryShortageError, StorageError
from recsys.files import folder_digests, value_digest, whole_file, write_json
from recsys.serving.manifest import MANIFEST
from recsys.serving.recommender import PACKAGE_FORMAT
from recsys.serving.server import TOKEN_VARIABLE as TOKEN
from recsys.storage import require_writable, storage_error
from recsys.workflow_failures import FailedJob, failures, interruption
from tests.mistakes import contents, documented, says

START = 1_714_564_800
COLUMNS = {"visitor": "user", "item": "item", "timestamp": "time"}
RUNS = "runs:\n  popularity: {model: popularity}\n"
SECTIONS = ("The configuration", "The log's files", "Sessions and splits", "The machine", "Serving")
PROVOKED: dict[str, Callable[[], list[str]]] = {}


def mistake(title: str) -> Callable:
    """Note a function that makes the mistake of this title in the working directory, and gives the command that meets it."""

    def note(function: Callable[[], list[str]]) -> Callable[[], list[str]]:
        PROVOKED[title] = function
        return function

    return note


def rows(n: int = 100, head: str = "user,time,item", row: str = "{user},{ms},{item}") -> str:
    lines = (row.format(user=k % 7, ms=(START + 60 * k) * 1000, s=START + 60 * k, item=k % 13) for k in range(n))
    return "\n".join([head, *lines]) + "\n"


def configured(text: str) -> list[str]:
    Path("my-shop.yaml").write_text(text)
    return ["validate", "my-shop.yaml"]


def ingest(content: str | bytes | pl.DataFrame, name: str = "log.csv", **source) -> list[str]:
    if isinstance(content, pl.DataFrame):
        content.write_parquet(name)
    else:
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    outputs = ["--events", "out/events.parquet", "--quarantine", "out/quarantine.parquet", "--quality", "out/quality.json"]
    settings = {"source": {"type": "files", "columns": COLUMNS, "paths": [name]} | source}
    return ["ingest", name, *outputs, "--settings", json.dumps(settings)]


def sessionize(clicks: list[tuple[int, int, int]], **settings) -> list[str]:
    events = pl.DataFrame(clicks, schema={"visitor_id": pl.Int64, "item_id": pl.Int64, "second": pl.Int64}, orient="row")
    time = pl.from_epoch("second", time_unit="s").cast(pl.Datetime("ms", "UTC")).alias("timestamp")
    events.select("visitor_id", pl.lit(None, pl.Int64).alias("session"), "item_id", pl.lit("view").alias("event"), time).write_parquet(
        "events.parquet"
    )
    outputs = ["--sessions", "out/sessions.parquet", "--catalogue", "out/catalogue.parquet", "--summary", "out/summary.json"]
    return ["sessionize", "events.parquet", *outputs, "--settings", json.dumps(settings)]


def train(**parameters) -> list[str]:
    sessions = pl.DataFrame({"items": [[0, 1], [1, 2], [2, 0]], "start": [1, 2, 3]}, schema={"items": pl.List(pl.Int32), "start": pl.Int64})
    sessions.write_parquet("train.parquet")
    sessions.write_parquet("valid.parquet")
    pl.DataFrame({"index": [0, 1, 2], "code": [0, 1, 2], "item_id": [10, 11, 12], "support": [2, 2, 2]}).write_parquet("items.parquet")
    run = {"run": "gru", "name": "gru", "model": "gru4rec", "seed": 1, "parameters": parameters}
    outputs = ["--params", "out/params.json", "--model", "out/model", "--history", "out/history.parquet", "--work", "out/work"]
    inputs = ["train.parquet", "--items", "items.parquet", "--valid", "valid.parquet", "--device", "cpu"]
    return ["train", *inputs, *outputs, "--settings", json.dumps({"run": run, "training": {}})]


def package() -> Path:
    """The least that counts as a package: a manifest and a file it names."""
    folder = Path("package")
    folder.mkdir()
    (folder / "items.parquet").write_bytes(b"items")
    files = folder_digests(folder)
    write_json(folder / MANIFEST, {"format": PACKAGE_FORMAT, "family": "popularity", "shop": "demo", "id_type": "integer", "files": files})
    return folder


def store() -> None:
    """An SQLite store in which the shop `demo` has a champion."""
    Path("results/mlflow").mkdir(parents=True)
    with sqlite3.connect("results/mlflow/mlflow.db") as database:
        database.execute("CREATE TABLE registered_model_aliases (name TEXT, alias TEXT, version INTEGER)")
        database.execute("INSERT INTO registered_model_aliases VALUES ('session-recommender-demo', 'champion', 1)")
    database.close()


@mistake("A configuration file that is not there")
def _() -> list[str]:
    return ["validate", "my-shpo.yaml"]


@mistake("A bracket that is not closed")
def _() -> list[str]:
    return configured("runs:\n  popularity: {model: popularity\nsplit: {test: 7d}\n")


@mistake("A run name used twice")
def _() -> list[str]:
    return configured(RUNS + "  gru: {model: gru4rec}\n  gru: {model: gru4rec, parameters: {epochs: 3}}\n")


@mistake("A key that does not exist")
def _() -> list[str]:
    return configured(RUNS + "sessions: {gapp: 1h}\n")


@mistake("A key that does not exist, in a run")
def _() -> list[str]:
    return configured(RUNS + "  gru: {model: gru4rec, parameters: {layer: [100]}}\n")


@mistake("A typing error in a needed key")
def _() -> list[str]:
    return configured(RUNS + "source: {type: files, paths: log.csv, columns: {visitor: user, itm: item, timestamp: time}}\n")


@mistake("A value of the wrong kind")
def _() -> list[str]:
    return configured(RUNS + "filter: {min_support: many}\n")


@mistake("A duration without its unit")
def _() -> list[str]:
    return configured(RUNS + "sessions: {gap: 30}\n")


@mistake("One column for two things")
def _() -> list[str]:
    return configured(RUNS + "source: {type: files, paths: log.csv, columns: {visitor: user, item: user, timestamp: time}}\n")


@mistake("A path that matches no file")
def _() -> list[str]:
    return configured(RUNS + "source: {type: files, paths: logs/*.csv, columns: {visitor: user, item: item, timestamp: time}}\n")


@mistake("A unit written out")
def _() -> list[str]:
    source = "{type: files, paths: log.csv, columns: {visitor: user, item: item, timestamp: time}, timestamps: {unit: seconds}}"
    return configured(RUNS + f"source: {source}\n")


@mistake("Shares that leave nothing to train on")
def _() -> list[str]:
    return configured(RUNS + "split: {test: 0.7, valid: 0.5}\n")


@mistake("A folder of `--directory` that is not there")
def _() -> list[str]:
    return [*configured(RUNS), "--directory", "shops/gardn"]


@mistake("A missing column")
def _() -> list[str]:
    return ingest(rows(head="user,time,Item"))


@mistake("Several missing columns")
def _() -> list[str]:
    return ingest(rows(head="users,clock,Item"))


@mistake("Another separator")
def _() -> list[str]:
    return ingest(rows().replace(",", ";"))


@mistake("A header that names a column twice")
def _() -> list[str]:
    return ingest(rows(head="user,time,item,item", row="{user},{ms},{item},{item}"))


@mistake("A text that is no time")
def _() -> list[str]:
    return ingest(rows(row="{user},01.05.2024 10:00,{item}"))


@mistake("A column that holds no times")
def _() -> list[str]:
    return ingest(pl.DataFrame({"user": [1, 2], "time": [True, False], "item": [1, 2]}), "log.parquet")


@mistake("Lists as items")
def _() -> list[str]:
    return ingest(pl.DataFrame({"user": [1, 2], "time": [START * 1000] * 2, "item": [[1], [2]]}), "log.parquet")


@mistake("Prices as items")
def _() -> list[str]:
    return ingest(rows(row="{user},{ms},{item}.5"))


@mistake("A file of no bytes")
def _() -> list[str]:
    return ingest("")


@mistake("A file with a header and no rows")
def _() -> list[str]:
    return ingest("user,time,item\n")


@mistake("An empty Parquet file")
def _() -> list[str]:
    return ingest(pl.DataFrame({"user": [1], "time": [1], "item": [1]}).head(0), "log.parquet")


@mistake("A Parquet file that is cut off")
def _() -> list[str]:
    pl.DataFrame({"user": range(1000), "time": range(1000), "item": range(1000)}).write_parquet("whole.parquet")
    return ingest(Path("whole.parquet").read_bytes()[:3000], "log.parquet")


@mistake("A gzip file that is cut off")
def _() -> list[str]:
    return ingest(gzip.compress(rows(5000).encode())[:8000], "log.csv.gz")


@mistake("A Parquet file that is called CSV")
def _() -> list[str]:
    pl.DataFrame({"user": [1], "time": [1], "item": [1]}).write_parquet("log.parquet")
    return ingest(Path("log.parquet").read_bytes())


@mistake("Text that is not UTF-8")
def _() -> list[str]:
    return ingest(rows(50).encode() + "3,1714564800000,café\n".encode("latin-1"))


@mistake("Text in UTF-16")
def _() -> list[str]:
    return ingest(rows().encode("utf-16"))


@mistake("Rows with too many fields")
def _() -> list[str]:
    return ingest(rows(90) + "1,1714564800000,5,9,9\n" * 10)


@mistake("Rows with too few fields")
def _() -> list[str]:
    return ingest(rows(90) + "1,1714564800000\n" * 10)


@mistake("Two faults in many rows")
def _() -> list[str]:
    return ingest(rows(70) + ",1714564800000,1\n" * 20 + "1,noon,1\n" * 10)


@mistake("Seconds read as milliseconds (1970)")
def _() -> list[str]:
    return ingest(rows(row="{user},{s},{item}"))


@mistake("Milliseconds read as seconds (the year 56,000)")
def _() -> list[str]:
    return ingest(rows(), timestamps={"unit": "s"})


@mistake("Ids with letters where integers were seen first")
def _() -> list[str]:
    return ingest(rows(12_000) + "".join(f"1,{START * 1000},SKU{k}\n" for k in range(1_000)))


@mistake("An empty log")
def _() -> list[str]:
    return sessionize([])


@mistake("A log with one session")
def _() -> list[str]:
    return sessionize([(1, 5, START), (1, 6, START + 60)])


@mistake("Only sessions of one click")
def _() -> list[str]:
    return sessionize([(visitor, visitor % 9, START + 3600 * visitor) for visitor in range(200)])


@mistake("Sessions that all start at once")
def _() -> list[str]:
    return sessionize([(visitor, item, START) for visitor in range(50) for item in range(3)])


@mistake("`split.test` longer than the log")
def _() -> list[str]:
    clicks = [(visitor, item, START + 3600 * visitor + 60 * item) for visitor in range(48) for item in range(3)]
    return sessionize(clicks, split={"test": "30d"})


@mistake("A click that the log does not know")
def _() -> list[str]:
    clicks = [(visitor, item, START + 3600 * visitor + 60 * item) for visitor in range(48) for item in range(3)]
    return sessionize(clicks, sessions={"clicks": ["buy"]})


@mistake("No memory for the batch")
def _() -> list[str]:
    return train(n_sample=20_000_000_000)


@mistake("A port in use")
def _() -> list[str]:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    KEPT.append(taken)
    return ["serve", "--model", str(package()), "--port", str(taken.getsockname()[1])]


KEPT: list[socket.socket] = []


@mistake("Another address without a token")
def _() -> list[str]:
    return ["serve", "--model", str(package()), "--settings", json.dumps({"serve": {"host": "0.0.0.0"}})]


@mistake("All addresses without a name")
def _() -> list[str]:
    os.environ[TOKEN] = "a-token-nobody-guesses"
    return ["serve", "--model", str(package()), "--settings", json.dumps({"serve": {"host": "0.0.0.0"}})]


@mistake("A file of rules that is not there")
def _() -> list[str]:
    Path("my-shop.yaml").write_text(RUNS + "serve: {rules: {available: on-sale.txt}}\n")
    return ["serve", "--model", str(package()), "--configuration", "my-shop.yaml"]


@mistake("A configuration and settings to serve with")
def _() -> list[str]:
    return ["serve", "--configuration", "my-shop.yaml", "--settings", "{}"]


@mistake("A shop that is not in the store")
def _() -> list[str]:
    store()
    return ["serve", "--shop", "dmeo"]


@mistake("Serving from another folder")
def _() -> list[str]:
    return ["serve"]


@mistake("A summary where nothing has run")
def _() -> list[str]:
    return ["summary"]


@mistake("A damaged MLflow store")
def _() -> list[str]:
    store()
    Path("results/mlflow/mlflow.db").write_bytes(b"garbage " * 1000)
    return ["serve", "--shop", "demo"]


@mistake("An altered package")
def _() -> list[str]:
    (package() / "items.parquet").write_bytes(b"other items")
    return ["serve", "--model", "package"]


@mistake("A package that lacks a file")
def _() -> list[str]:
    (package() / "items.parquet").unlink()
    return ["serve", "--model", "package"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A disk of 200 KiB at `out`, mounted with further options."""
    disk = tmp_path / "out"
    disk.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        return disk

    yield mount
    subprocess.run(["umount", str(disk)], capture_output=True, check=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[[list[str]], tuple[int, str]]:
    """Call `recsys` as the shell does; its exit code and what it said on its error output."""

    def call(arguments: list[str]) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["recsys", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capfd.readouterr().err

    return call


FULL, READ_ONLY = "A full disk", "A read-only folder"


def test_every_documented_mistake_is_provoked():
    assert set(documented(*SECTIONS)) == {*PROVOKED, FULL, READ_ONLY}


@pytest.mark.parametrize("title", PROVOKED)
def test_a_mistake_is_told_as_documented_and_loses_nothing(title, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TOKEN, "")
    monkeypatch.delenv(TOKEN)  # and it is gone after the test, whoever sets it
    arguments = PROVOKED[title]()
    for before in ("events.parquet", "sessions.parquet", "model/weights"):
        (tmp_path / "out" / before).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / before).write_text("of an earlier run")
    kept = contents(tmp_path)
    code, printed = run(arguments)
    assert code != 0
    assert printed.startswith("recsys: ")
    assert printed.count("\n") == 1, printed
    assert says(printed, documented(*SECTIONS)[title]), printed
    assert {name: content for name, content in contents(tmp_path).items() if not name.endswith(".lock")} == kept


def test_a_full_disk_is_told_and_leaves_nothing_half(run, small_disk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    disk = small_disk("size=200k")
    (disk / "quality.json").write_text("{}")
    scattered = (f"{k * 7_919_993 % 10**9},{(START + k) * 1000},{k * 104_729 % 10**8}\n" for k in range(40_000))
    code, printed = run(ingest("user,time,item\n" + "".join(scattered)))
    assert code == StorageError.exit_code
    assert says(printed, documented(*SECTIONS)[FULL]), printed
    assert contents(disk) == {"quality.json": b"{}"}


def test_a_read_only_folder_is_told(run, small_disk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    disk = small_disk("ro")
    code, printed = run(ingest(rows()))
    assert code == StorageError.exit_code
    assert says(printed, documented(*SECTIONS)[READ_ONLY]), printed
    with pytest.raises(StorageError, match="is read-only"):
        require_writable(disk)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device"), "is full"),
        (sqlite3.OperationalError("database or disk is full"), "is full"),
        (pl.exceptions.ComputeError("No space left on device (os error 28)"), "is full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "is read-only"),
        (OSError(122, "Disk quota exceeded"), "quota"),
        (OSError(27, "File too large"), "ulimit"),
        (PermissionError(13, "Permission denied", "somewhere/else.parquet"), None),
        (ValueError("not a matter of disks"), None),
    ],
)
def test_what_libraries_say_of_a_disk_is_understood(error, expected, tmp_path):
    found = storage_error(error, tmp_path / "file")
    assert (found is None) if expected is None else (expected in str(found))


def test_an_error_in_whole_file_that_is_none_of_the_disks_stays_as_it_is(tmp_path):
    with pytest.raises(KeyError), whole_file(tmp_path / "file"):
        raise KeyError("x")
    own = ConfigurationError("a sentence of its own")
    own.__context__ = OSError(28, "No space left on device")
    with pytest.raises(ConfigurationError), whole_file(tmp_path / "file"):
        raise own
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (MemoryError(), ""),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 42949672960 bytes. Error code 12"), "40.0 GiB"),
        (OSError(12, "Cannot allocate memory"), ""),
    ],
)
def test_a_lack_of_memory_is_understood(error, asked):
    found = told(error)
    assert isinstance(found, MemoryShortageError)
    assert asked in str(found)
    assert told(ValueError("a fault of ours")) is None


def test_a_fault_of_the_program_shows_where_and_ends_in_one_line(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments = configured(RUNS)
    monkeypatch.setattr("recsys.configuration_file.read_configuration", lambda path: 1 / 0)
    code, printed = run(arguments)
    assert code == 1
    assert "Traceback" in printed
    assert printed.splitlines()[-1] == "recsys: a fault of the program, ZeroDivisionError: division by zero; report it with the lines above"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("- a\n- b\n", "no keys at its top level"),
        ("a: 1\n\tb: 2\n", "line 2, column 1: this is not YAML; indent with blanks"),
        ("a: b: c\n", "line 1, column 5: this is not YAML; put a text that holds a colon in quotes"),
        ("runs:\n  a: {model: x}\nsplit: 1\nruns: 2\n", "line 4: runs stands in line 1 already"),
        ("runs:\n  a:\n    model: x\n    model: y\n", "line 4: runs.a.model stands in line 3 already"),
        ('{"runs": {"a": 1, "a": 2}}', "line 1: runs.a stands in line 1 already"),
    ],
)
def test_a_file_that_is_no_configuration_is_told_with_its_line(text, expected, tmp_path):
    path = tmp_path / "my-shop.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(path)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_repeated_section_is_found_and_an_alias_is_none(tmp_path):
    path = tmp_path / "my-shop.yaml"
    path.write_text("runs:\n  a: &base {model: x}\n  b: *base\n  c: {<<: *base, seeds: [1]}\n")
    assert value_digest(read_configuration(path)["runs"]["c"]) == value_digest({"model": "x", "seeds": [1]})


DIED = "CalledProcessError in file \"a.smk\", line 5:\nCommand 'set -e; recsys x {…} 2> >(tee {log} >&2)' {how}.\n"


@pytest.mark.parametrize(
    ("log", "how", "expected"),
    [
        ("noise\nrecsys: log.csv is empty; remove it\n", "returned non-zero exit status 3", "log.csv is empty; remove it"),
        ("recsys: warning: careful\n", "died with <Signals.SIGKILL: 9>", "killed (SIGKILL)"),
        ("", "returned non-zero exit status 137", "killed (SIGKILL)"),
        ("", "died with <Signals.SIGTERM: 15>", "ended from outside (SIGTERM)"),
        ("", "died with <Signals.SIGSEGV: 11>", "crashed (SIGSEGV)"),
        ("", "returned non-zero exit status 1", "without a word"),
    ],
)
def test_a_failed_job_is_told_by_its_own_sentence_or_by_how_it_ended(log, how, expected, tmp_path):
    path, report = tmp_path / "x.log", tmp_path / "snakemake.log"
    path.write_text(log)
    report.write_text(DIED.replace("{log}", str(path)).replace("{how}", how))
    (line,) = failures([FailedJob("ingest_part of x", (path,))], [str(report)])
    assert line.startswith("recsys: ")
    assert expected in line
    assert line.endswith("(ingest_part of x)")


def test_failures_side_by_side_are_all_told_and_equal_ones_once(tmp_path):
    jobs = []
    for name, text in (("a", "recsys: one"), ("b", "recsys: two"), ("c", "recsys: one")):
        (tmp_path / name).write_text(text + "\n")
        jobs.append(FailedJob(f"rule of {name}", (tmp_path / name,)))
    assert failures(jobs, []) == ["recsys: one (rule of a, rule of c)", "recsys: two (rule of b)"]
    assert failures([], []) == []


@pytest.mark.parametrize(
    ("logged", "running", "expected"),
    [
        ("Terminating processes on user request, this might take some time.\n", {"train_run"}, "goes on where it stood"),
        ("Terminating processes on user request, this might take some time.\n", {"serve"}, "the server was stopped"),
        ("Terminating processes on user request, this might take some time.\n", {"serve", "train_run"}, "goes on where it stood"),
        ("Will exit after finishing currently running jobs (scheduler).\n", set(), "goes on where it stood"),
        ("Shutting down, this might take some time.\n", {"serve"}, None),
    ],
)
def test_an_interruption_is_told_apart_from_a_failure(logged, running, expected, tmp_path):
    log = tmp_path / "snakemake.log"
    log.write_text("Building DAG of jobs...\n" + logged)
    told = interruption([str(log)], frozenset(running))
    assert told is None if expected is None else expected in told
