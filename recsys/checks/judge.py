"""All checks of a log at once: the findings, and the rows that policies remove."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from recsys.checks.bots import find_bots
from recsys.checks.conversion import find_purchases_without_view
from recsys.checks.days import Day, days_of, judge_missing_days, judge_volume
from recsys.checks.duplicates import find_duplicates
from recsys.checks.finding import Finding
from recsys.checks.log import CHECKS_THAT_DROP, Exclusions, open_log
from recsys.checks.rows import judge_parts
from recsys.settings.checks import Checks


def judge_log(
    paths: list[Path], counts: list[dict[str, Any]], checks: Checks, name: str | None = None
) -> tuple[list[Finding], pl.DataFrame, list[Day]]:
    """Every check on one log.

    Parameters
    ----------
    paths
        Events of its parts.
    counts
        The contents of their quality files.
    checks
        Thresholds and policies.
    name
        How sentences call the log, where there is another.

    Returns
    -------
    findings : list of Finding
        One a check.
    exclusions : pl.DataFrame
        The columns of `Exclusions`.
    days : list of Day
        The log's days.

    Raises
    ------
    DataError
        If a file is no part, or two parts hold ids of different types.
    """
    log = open_log(paths)
    days = days_of(log, checks.volume)
    # In the order of CHECKS_THAT_DROP.
    found = {
        "duplicates": find_duplicates(log, checks.duplicates),
        "bots": find_bots(log, checks.bots),
        "volume": judge_volume(log, days, checks.volume),
        "conversion_order": find_purchases_without_view(log, checks.conversion_order),
    }
    findings = [*judge_parts(counts, checks), *(finding for finding, _ in found.values()), judge_missing_days(days, checks.missing_days)]
    if name is not None:
        findings = [replace(finding, sentence=f"{name}: {finding.sentence}") for finding in findings]
    nothing = pl.DataFrame(schema={"part": pl.Int32, "row": pl.Int64, "check": pl.String})
    dropped = [rows.with_columns(pl.lit(name).alias("check")) for name, (finding, rows) in found.items() if finding.policy == "drop"]
    rows = pl.concat([nothing, *dropped])
    rows = rows.unique(["part", "row"], keep="first", maintain_order=True).sort("part", "row")
    names = pl.col("part").replace_strict(dict(enumerate(log.parts)), return_dtype=pl.String)
    exclusions = rows.with_columns(names, pl.col("check").cast(pl.Enum(CHECKS_THAT_DROP)))
    return findings, Exclusions.validate(exclusions), days


def report(parts: list[str], findings: list[Finding], exclusions: pl.DataFrame, days: list[Day]) -> dict[str, Any]:
    """What the checks found in one log, as `quality/checks.json` holds it."""
    counts = dict(exclusions.group_by("check").len().iter_rows())
    return {
        "parts": parts,
        "checks": {finding.check: finding.summary() for finding in findings},
        "excluded": {name: counts[name] for name in CHECKS_THAT_DROP if name in counts},
        "days": [{"day": day.date.isoformat(), "events": day.events, "usual": day.usual} for day in days],
    }
