"""The quality of the log as one document: all parts together, and every finding."""

from pathlib import Path
from typing import Any

import polars as pl

STEPS = ((6 * 3_600, "10m"), (3 * 86_400, "1h"), (float("inf"), "1d"))
"""Seconds that a part spans at most, and the steps that its events are then counted by."""


def overall(parts: list[dict[str, Any]], checks: dict[str, Any], windows: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of `quality/quality.json`.

    Parameters
    ----------
    parts
        The parts' quality files.
    checks
        What `recsys check` found.
    windows
        The counts of the fit windows.
    """
    logs = {name: checks[key] for name, key in (("the log", "log"), ("the test log", "test_log")) if checks[key] is not None}
    findings = [
        {"name": check if len(logs) == 1 else f"{check}, {name}", "check": check, "of": name} | finding
        for name, found in logs.items()
        for check, finding in found["checks"].items()
    ]
    for split, found in ((split, window) for window in windows for split in ("valid", "test") if split in window):
        findings.append({"name": f"unseen_items, {split}", "check": "unseen_items", "of": split} | found["unseen_items"])
    return {
        "rows": sum(part["rows"] for part in parts),
        "events": sum(part["events"] for part in parts),
        "left_out_by_where": sum(part["left_out_by_where"] for part in parts),
        "quarantined": _added(part["quarantined"] for part in parts),
        "unknown_events": _added(part["unknown_events"] for part in parts),
        "event_counts": _added(part["event_counts"] for part in parts),
        "excluded": {name: found["excluded"] for name, found in logs.items()},
        "passed": all(finding["passed"] for finding in findings),
        "checks": findings,
        "days": {name: found["days"] for name, found in logs.items()},
        "parts": parts,
    }


def _added(counts) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in counts:
        for name, number in part.items():
            total[name] = total.get(name, 0) + number
    return dict(sorted(total.items(), key=lambda pair: (-pair[1], pair[0])))


def events_over_time(path: Path) -> pl.DataFrame:
    """Events of a part by type: `time` (the begin of a step, UTC), `event`, `events`, `step` (the same in each row)."""
    table = pl.scan_parquet(path, glob=False)
    first, last = table.select(pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last")).collect().row(0)
    span = 0 if first is None else (last - first).total_seconds()
    step = next(step for most, step in STEPS if span <= most)
    counts = table.group_by(pl.col("timestamp").dt.truncate(step).alias("time"), "event").agg(pl.len().alias("events"))
    return counts.with_columns(pl.lit(step).alias("step")).collect(engine="streaming").sort("time", "event")
