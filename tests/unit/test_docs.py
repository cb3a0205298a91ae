"""What the pages of the documentation promise: links, commands, configurations, and the layouts of a log that they show."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import polars as pl
import pytest
import yaml
from pydantic import TypeAdapter

from recsys.cli.application import COMMANDS, application
from recsys.config import json_schema, load_configuration
from recsys.errors import RecsysError
from recsys.events.ingest import ingest
from recsys.settings.base import Duration
from recsys.settings.layout import Paths

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from reference import page as reference_page  # noqa: E402
from reference import slug, words  # noqa: E402

FOLDERS = ("rust_sessionizer", "monitoring")
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / one / "README.md" for one in FOLDERS), *(ROOT / "docs").rglob("*.md")])
GUIDES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "howto").glob("*.md"))]
HOWTO = ROOT / "docs" / "howto"
BLOCK = re.compile(r"(?ms)^( *)```(\w*)\n(.*?)^ *```$")
SOURCE = {"type": "files", "paths": "log.csv", "columns": {"visitor": "v", "item": "i", "timestamp": "t"}}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(text: str, *languages: str) -> list[str]:
    """Code blocks of a language, their indentation removed."""
    found = []
    for match in BLOCK.finditer(text):
        if match[2] in languages:
            found.append("\n".join(line.removeprefix(match[1]) for line in match[3].splitlines()) + "\n")
    return found


def prose(text: str) -> str:
    return BLOCK.sub("", text)


@cache
def anchors(page: Path) -> set[str]:
    return {slug(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line)) for line in re.findall(r"(?m)^#+ (.*)$", prose(page.read_text()))}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 65535}, "a whole number, 1 to 65,535"),
        ({"type": "number", "exclusiveMinimum": 0}, "a number, more than 0"),
        ({"enum": ["warn", "stop"], "type": "string"}, "one of `warn`, `stop`"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}, "a text, or `null`"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "a text or a whole number"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, "a list of texts, 1 at least"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "a mapping to texts"),
        (TypeAdapter(Duration).json_schema(), "a duration"),
        (TypeAdapter(Duration | None).json_schema(), "a duration, or `null`"),
        (TypeAdapter(Paths).json_schema(), "a path or pattern, or a list of them"),
    ],
)
def test_the_reference_says_types_in_words(schema, said):
    assert words(schema) == said


def test_the_reference_holds_every_key_with_a_meaning_and_every_anchor_once():
    page = reference_page()
    for definition in json_schema()["$defs"].values():
        for key in definition["properties"]:
            assert f"| `{key}` | " in page
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.rstrip(" |").count(" | ") < 3] == [], "a key without a meaning"
    headings = [slug(heading) for heading in re.findall(r"(?m)^#+ (.*)$", page)]
    assert len(set(headings)) == len(headings)


def test_the_index_leads_to_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    linked = {(ROOT / "docs" / target.partition("#")[0]).resolve() for target in re.findall(r"\]\(([^)\s]+)\)", index)}
    pages = set((ROOT / "docs").glob("*.md")) | set(HOWTO.glob("*.md"))
    assert sorted(name_of(page) for page in pages - linked - {ROOT / "docs" / "README.md"}) == []


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_every_configuration_is_valid(page):
    text = page.read_text()
    for content in blocks(re.sub(r"(?s)<!-- once plugged in -->\n```yaml.*?```", "", text), "yaml"):
        shown = yaml.safe_load(content)
        # What a page leaves out is what stands elsewhere in the same configuration.
        load_configuration({"source": SOURCE, "runs": {"popularity": {"model": "popularity"}}} | shown)


def commands(page: Path) -> list[list[str]]:
    """Every command line of a page's shell blocks and inline code, as words."""
    text = page.read_text()
    lines = [line for block in blocks(text, "sh") for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    lines += re.findall(r"`((?:snakemake|recsys|make) [^`\n]*)`", prose(text))
    found = []
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a quoted program over several lines
            continue
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words and words[0] in ("snakemake", "recsys", "make"):
            found.append(words)
    return found


@cache
def snakemake_options() -> frozenset[str]:
    program = Path(sys.executable).with_name("snakemake")
    shown = subprocess.run([str(program), "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
    return frozenset(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", shown))


@cache
def recsys_options(stage: str) -> frozenset[str]:
    from typer.main import get_command

    return frozenset(option for parameter in get_command(application(stage)).commands[stage].params for option in parameter.opts)


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_every_command_and_option_exists(page):
    goals = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
    rules = set(
        re.findall(r"(?m)^ *(?:use rule \w+ as|rule) (\w+)", "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk")))
    )
    for program, *arguments in commands(page):
        options = [word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)]
        shown = " ".join([program, *arguments])
        if program == "make":
            wanted = {word for word in arguments if re.fullmatch(r"[a-z]+", word)}
            assert wanted <= goals, shown
        elif program == "snakemake":
            assert set(options) <= snakemake_options(), shown
            first = arguments[0] if arguments else "-"
            assert first.startswith("-") or first in rules | {"…"}, shown
        elif arguments and arguments[0] in COMMANDS:
            assert set(options) - {"--help"} <= recsys_options(arguments[0]), shown
        else:
            assert arguments in (["--help"], ["STAGE", "…"], ["STAGE"]), shown


def samples(text: str) -> dict[str, str]:
    """Files that a page shows: a line with the name in backquotes, then the content."""
    return {match[1]: match[2] for match in re.finditer(r"(?ms)^`([\w./~-]+)`[^\n`]*\n```\w*\n(.*?)^```$", text)}


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"(?m)^##+ (.*)$", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


OWN_LOG = sections((HOWTO / "your-own-log.md").read_text())


@pytest.fixture
def shown_log(tmp_path, monkeypatch):
    """A function that writes a section's files, reads its log as its configuration says, and gives events and quality by part."""
    monkeypatch.chdir(tmp_path)

    def read(heading: str, configured: str | None = None, **checks) -> tuple[dict[str, pl.DataFrame], dict[str, dict]]:
        for name, content in samples(OWN_LOG[heading]).items():
            if not name.endswith(".yaml"):
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_text(content)
        shown = yaml.safe_load(blocks(OWN_LOG[configured or heading], "yaml")[0])
        configuration = load_configuration({"runs": {"popularity": {"model": "popularity"}}, "checks": checks} | shown)
        events, quality = {}, {}
        for name, part in configuration.parts.items():
            target = tmp_path / "results" / name
            paths = [target.with_suffix(suffix) for suffix in (".parquet", ".quarantine.parquet", ".json")]
            quality[name] = ingest(Path(part.path), configuration.source, configuration.checks, *paths)
            events[name] = pl.read_parquet(paths[0])
        return events, quality

    return read


@pytest.mark.parametrize(
    ("heading", "counts"),
    [
        ("1. Say how the file is written", {"monday": 4}),
        ("JSON lines", {"monday": 2}),
        ("No header, other separator", {"monday": 3}),
        ("Times as text", {"monday": 2}),
        ("A log that is already sessionized", {"train": 3, "test": 2}),
        ("Some rows only", {"invoices": 2}),
        ("Names and categories of items", {"monday": 4}),
    ],
)
def test_every_layout_that_is_shown_is_read(shown_log, heading, counts):
    if heading.startswith("Names"):
        shown_log("1. Say how the file is written")
    events, quality = shown_log(heading)
    assert {name: table.height for name, table in events.items()} == counts
    assert all(report["quarantined"] == {} for report in quality.values())


def test_what_the_layouts_become(shown_log, tmp_path):
    monday = shown_log("1. Say how the file is written")[0]["monday"]
    assert monday["event"].to_list() == ["view", "cart", "view", "purchase"]
    assert monday["timestamp"].dt.epoch("s").to_list() == [1700000000, 1700000060, 1700000090, 1700000150]
    shutil.rmtree(tmp_path / "logs")
    in_berlin = shown_log("JSON lines")[0]["monday"]
    assert in_berlin["timestamp"].dt.hour().to_list() == [6, 6]
    assert in_berlin["value"].to_list() == [9.5, None]
    assert shown_log("No header, other separator")[0]["monday"]["event"].to_list() == ["view", "cart", "favourite"]
    assert shown_log("Times as text")[0]["monday"]["item_id"].to_list() == ["00123", "00124"]
    invoices, counted = shown_log("Some rows only")
    assert invoices["invoices"]["item_id"].to_list() == ["85123A", "22728"]
    assert counted["invoices"]["left_out_by_where"] == 1


def test_the_quarantine_that_is_shown_gives_its_reasons(shown_log):
    _, quality = shown_log("3. Look at what was refused", "1. Say how the file is written", quarantined={"threshold": 1})
    said = re.findall(r"`(the [a-z ]+)`", OWN_LOG["3. Look at what was refused"])
    assert set(quality["tuesday"]["quarantined"]) == set(said)
    assert quality["tuesday"]["events"] == 1


def test_too_many_refused_rows_stop_as_the_page_says(shown_log):
    with pytest.raises(RecsysError, match="checks.quarantined.threshold"):
        shown_log("3. Look at what was refused", "1. Say how the file is written")


def test_shell_scripts_and_units_are_sound():
    text = (HOWTO / "retrain-daily.md").read_text()
    for script in blocks(text, "sh"):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    units = {name: content for name, content in samples(text).items() if name.endswith((".service", ".timer"))}
    assert len(units) == 3
    for content in units.values():
        parser = configparser.ConfigParser()
        parser.optionxform = str
        parser.read_string(content)
        assert parser["Unit"]["Description"]


def apply(folder: Path, page: str) -> None:
    """Write a page's files below `folder`, and put the lines that its differences add behind the lines they name."""
    for match in re.finditer(r"(?ms)^`([\w./]+)`\n((?:```\w+\n.*?^```\n)+)", page):
        path = folder / match[1]
        for language, content in re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", match[2]):
            if language != "diff":
                path.write_text(content)
                continue
            lines = content.splitlines(keepends=True)
            kept, gone, added = ("".join(line[1:] for line in lines if line.startswith(sign)) for sign in " -+")
            # A line that is replaced may go on in the file.
            old, new = (kept + gone, kept + added) if not gone else ((kept + gone).rstrip("\n"), (kept + added).rstrip("\n"))
            text = path.read_text()
            assert text.count(old) == 1, f"{match[1]} no longer holds {old!r}"
            path.write_text(text.replace(old, new))


def test_the_source_that_is_shown_can_be_named_and_is_verified_and_read(tmp_path):
    page = (HOWTO / "new-source.md").read_text()
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "recsys", copy / "recsys", ignore=shutil.ignore_patterns("__pycache__"))
    apply(copy, page)
    folder = tmp_path / "data" / "garden"
    folder.mkdir(parents=True)
    (folder / "clicks.csv").write_text(samples(page)["clicks.csv"])
    shown = yaml.safe_load(blocks(page, "yaml")[0])
    program = f"""
import json
from recsys.config import json_schema, load_configuration
from recsys.settings.checks import Checks
source = load_configuration({shown!r}).source
(file,) = source.raw_files()
described = file.described
settings = {{"source": described["layout"], "checks": {{}}, "expected": described["expected"], "page": described["page"]}}
print(json.dumps([file.path, json.dumps(settings)]))
"""
    environment = {"PYTHONPATH": str(copy), "PATH": "/usr/bin:/bin"}
    run = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 120}
    told = subprocess.run([sys.executable, "-c", program], check=False, **run)
    assert told.returncode == 0, told.stderr
    path, settings = json.loads(told.stdout)
    command = [sys.executable, "-m", "recsys", "ingest", path, "--settings", settings, "--events", "e.parquet"]
    command += ["--quarantine", "q.parquet", "--quality", "q.json"]
    read = subprocess.run(command, check=False, **run)
    assert read.returncode == 0, read.stderr
    events = pl.read_parquet(tmp_path / "e.parquet")
    assert events["event"].to_list() == ["view", "view", "purchase", "view", "view"]
    assert events["item_id"].to_list() == ["rose", "tulip", "rose", "tulip", "lily"]
    (folder / "clicks.csv").write_text(samples(page)["clicks.csv"].replace("lily", "iris"))
    altered = subprocess.run(command, check=False, **run)
    assert altered.returncode != 0
    assert "is not the published file" in altered.stderr


def test_the_model_that_is_shown_can_be_plugged_in_trained_and_exported(tmp_path):
    page = (HOWTO / "new-model.md").read_text()
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "recsys", copy / "recsys", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "rust_sessionizer").mkdir()
    apply(copy, page)
    shown = yaml.safe_load(blocks(page, "yaml")[0])
    # Item 1 follows item 0, item 2 follows item 1; item 0 is clicked most.
    lists = [[0, 1], [0, 1, 2], [0, 1, 2], [1, 2], [0, 0, 1]]
    sessions = pl.DataFrame({"items": lists, "start": range(len(lists))}, schema={"items": pl.List(pl.Int32), "start": pl.Int64})
    sessions.with_columns(pl.col("start").cast(pl.Datetime("ms", "UTC"))).write_parquet(tmp_path / "train.parquet")
    items = pl.DataFrame({"index": [0, 1, 2], "code": [2, 0, 1], "item_id": [70, 50, 60], "support": [5, 5, 3]})
    items.cast({"index": pl.Int32, "code": pl.Int32}).write_parquet(tmp_path / "items.parquet")

    def recsys(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "recsys", *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": str(copy), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    planned = f"from recsys.config import load_configuration; print(load_configuration({shown!r}).grid['markov'].settings)"
    grid = subprocess.run([sys.executable, "-c", planned], cwd=copy, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "'smoothing': 0.5" in grid
    run = {"run": "markov", "name": "markov", "model": "markov", "seed": 0, "parameters": {"smoothing": 0.5}}
    data = ("train.parquet", "--items", "items.parquet", "--valid", "train.parquet")
    written = ("--params", "run/params.json", "--model", "run/model", "--history", "run/history.parquet", "--work", "work")
    recsys("train", *data, *written, "--settings", json.dumps({"run": run}))
    given = ("--params", "run/params.json", "--items", "items.parquet", "--held-out", "train.parquet")
    evaluated = ("--metrics", "run/metrics.json", "--ranks", "run/ranks.parquet")
    recsys("evaluate", "run/model", *given, *evaluated, "--settings", '{"evaluation": {"bootstrap": 100}}')
    # Of the eight predictions, 0 → 1 and 1 → 2 stand first; the one 0 → 0 does not.
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["recall"]["1"] == pytest.approx(7 / 8)
    recsys("export", "--model", "run/model", "--output", "export")
    assert json.loads((tmp_path / "export" / "runtime.json").read_text())["model_class"] == ["recsys.models.markov", "Markov"]
