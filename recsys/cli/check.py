"""`recsys check`: the log as a whole, and the rows that checks remove."""

from pathlib import Path
from typing import Annotated

import typer


def check(
    events: Annotated[list[Path], typer.Argument(help="Event parts of the log; each has its quality file beside it.")],
    checks: Annotated[Path, typer.Option(help="JSON file to write the findings to.")],
    exclusions: Annotated[Path, typer.Option(help="Parquet file to write the rows that are removed to.")],
    test_events: Annotated[list[Path] | None, typer.Option(help="Event parts of a separate test log.")] = None,
    settings: Annotated[str, typer.Option(help='JSON: {"checks": …}.')] = "{}",
) -> None:
    """Judge the log's parts together; a separate test log is judged by itself."""
    import polars as pl

    from recsys.checks.finding import enforce
    from recsys.checks.judge import judge_log, report
    from recsys.cli.arguments import existing
    from recsys.events.parts import read_counts
    from recsys.files import write_json, write_parquet
    from recsys.settings.checks import Checks
    from recsys.settings.reading import parse_settings, section

    limits = section(parse_settings(settings), "checks", Checks)
    written, removed, findings = {"log": None, "test_log": None}, [], []
    for name, paths in (("log", events), ("test_log", test_events)):
        if not paths:
            continue
        counts = [read_counts(existing(path)) for path in paths]
        found, rows, days = judge_log(paths, counts, limits, "the test log" if name == "test_log" else None)
        findings += found
        removed.append(rows)
        written[name] = report([content["part"] for content in counts], found, rows, days)
    enforce(findings)
    write_json(checks, written)
    write_parquet(pl.concat(removed).with_columns(pl.col("check").cast(pl.String)), exclusions)
    failed = [finding.check for finding in findings if not finding.passed]
    print(
        f"{len(findings) - len(failed)} of {len(findings)} checks passed"
        + (f"; failed: {', '.join(failed)}" if failed else "")
        + f"; {sum(rows.height for rows in removed):,} events are left out"
    )
