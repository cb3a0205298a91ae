"""What the rules took: seconds and memory, from Snakemake's benchmark files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recsys.errors import DataError

_COLUMNS = {
    "rule": pl.String,
    "seconds": pl.Float64,
    "memory_mib": pl.Float64,
    "threads": pl.Int64,
}
_LEAST_MIB = 8.0
"""What a Python interpreter takes at least; where less was seen, the look fell on the shell before it became the stage."""


def read_benchmarks(files: Sequence[Path]) -> pl.DataFrame:
    """A row a job, in the order of the files: `rule`, `seconds`, `memory_mib` and `threads`.

    Snakemake looks at a job's memory now and then, every half second at first; a job that ended before it was looked at has null here.

    Raises
    ------
    DataError
        If a file holds no benchmark.
    """
    rows = []
    for file in files:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        try:
            jobs = [json.loads(line) for line in lines]
            rows += [
                {
                    "rule": job["rule_name"],
                    "seconds": float(job["s"]),
                    "memory_mib": _measured(job["max_rss"]),
                    "threads": int(job["threads"]),
                }
                for job in jobs
            ]
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"{file} is no extended benchmark in JSON lines; set benchmark-extended: true in the profile, delete the file and run again"
            ) from None
    return pl.DataFrame(rows, schema=_COLUMNS)


def _measured(value: Any) -> float | None:
    """Snakemake writes NA, or 0 where a process ended between two looks."""
    return float(value) if isinstance(value, int | float) and value >= _LEAST_MIB else None


def by_rule(jobs: pl.DataFrame) -> pl.DataFrame:
    """A row a rule, in the order of their first jobs.

    Columns: `rule`, `jobs`, `seconds` (of all jobs), `longest` (of one job), `memory_mib` (the highest of a job, null where none was
    measured), `threads` (most of a job) and `measured` (jobs whose memory was seen).
    """
    return jobs.group_by("rule", maintain_order=True).agg(
        pl.len().alias("jobs"),
        pl.col("seconds").sum().round(3),
        pl.col("seconds").max().round(3).alias("longest"),
        pl.col("memory_mib").max().round(1),
        pl.col("threads").max(),
        pl.col("memory_mib").count().alias("measured"),
    )
