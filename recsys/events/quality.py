"""What a part's rows came to: counts, time range, and the check of the refused share."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from recsys.errors import DataError
from recsys.events.contract import REASONS, REMEDIES
from recsys.settings.checks import Checks


@dataclass
class Quality:
    """Counts that are added up batch by batch."""

    part: str
    file: str
    rows: int = 0
    left_out: int = 0
    events: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    examples: dict[str, int] = field(default_factory=dict)
    event_counts: dict[str, int] = field(default_factory=dict)
    first: object = None
    last: object = None
    _hashes: list[np.ndarray] = field(default_factory=list)

    def add(self, rows: int, left_out: int, kept: pl.DataFrame, refused: pl.DataFrame) -> None:
        """Count a batch: `kept` in the events' columns, `refused` with `row` and `rule`."""
        self.rows += rows
        self.left_out += left_out
        self.events += kept.height
        for rule, count, row in refused.group_by("rule").agg(pl.len(), pl.col("row").min().alias("first")).iter_rows():
            self.refused[rule] = self.refused.get(rule, 0) + count
            self.examples[rule] = min(self.examples.get(rule, row), row)
        for event, count in kept["event"].value_counts().iter_rows():
            self.event_counts[event] = self.event_counts.get(event, 0) + count
        if kept.height:
            times = kept["timestamp"]
            self.first = min(filter(None, (self.first, times.min())))
            self.last = max(filter(None, (self.last, times.max())))
            # Eight bytes a row are kept to count the duplicates of the whole part.
            self._hashes.append(kept.hash_rows(seed=0).to_numpy())

    @property
    def share(self) -> float:
        """Refused rows as a share of the rows that `where` left."""
        refused = sum(self.refused.values())
        return refused / (refused + self.events) if refused else 0.0

    @property
    def duplicates(self) -> int:
        """Rows that equal an earlier one in every column; they are kept."""
        if not self._hashes:
            return 0
        hashes = np.sort(np.concatenate(self._hashes))
        return int((hashes[1:] == hashes[:-1]).sum())

    def check(self, checks: Checks, path: Path) -> None:
        """Warn or stop where too many rows were refused.

        Raises
        ------
        DataError
            If they are too many and `checks` says stop.
        """
        if self.share <= checks.max_quarantined:
            return
        rule = max(REASONS, key=lambda name: self.refused.get(name, 0))
        sentence = (
            f"{path}: {sum(self.refused.values()):,} of {self.rows - self.left_out:,} rows ({self.share:.1%}) were refused, more than "
            f"checks.max_quarantined allows ({checks.max_quarantined:.1%}); most often because {REASONS[rule]} "
            f"({self.refused[rule]:,} times, first in row {self.examples[rule]}): {REMEDIES[rule]}, or raise checks.max_quarantined"
        )
        if checks.on_failure == "stop":
            raise DataError(sentence)
        print(f"recsys: warning: {sentence}", file=sys.stderr)

    def summary(self, checks: Checks) -> dict:
        """The content of the quality file: no paths, no timings."""
        return {
            "part": self.part,
            "file": self.file,
            "rows": self.rows,
            "events": self.events,
            "left_out_by_where": self.left_out,
            "quarantined": {REASONS[rule]: self.refused[rule] for rule in REASONS if rule in self.refused},
            "duplicates": self.duplicates,
            "event_counts": dict(sorted(self.event_counts.items())),
            "first": _iso(self.first),
            "last": _iso(self.last),
            "checks": {
                "max_quarantined": checks.max_quarantined,
                "quarantined_share": round(self.share, 6),
                "on_failure": checks.on_failure,
                "passed": self.share <= checks.max_quarantined,
            },
        }


def _iso(time) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
