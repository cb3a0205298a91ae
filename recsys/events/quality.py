"""What a part's rows came to: counts, time range, and the checks of the rows that were refused."""

import datetime as dt
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from recsys.checks.finding import Finding
from recsys.checks.rows import judge_rows
from recsys.events.contract import REASONS
from recsys.settings.checks import Checks

NAMES_KEPT = 1_000
"""Different unknown events that are counted by name; a column that holds no events at all must not fill the memory."""
FIELD_SHOWN = 80
"""Characters of a refused field that are shown."""
NAMES_SHOWN = 20
"""Unknown events in the quality file, the most frequent first."""


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
    fields: dict[str, str] = field(default_factory=dict)
    event_counts: dict[str, int] = field(default_factory=dict)
    unknown_events: dict[str, int] = field(default_factory=dict)
    latest_believed: dt.datetime | None = None
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    _hashes: list[np.ndarray] = field(default_factory=list)

    def add(self, rows: int, left_out: int, kept: pl.DataFrame, refused: pl.DataFrame, unknown: pl.Series | None = None) -> None:
        """Count a batch: `kept` in the events' columns, `refused` with `row`, `rule` and, where one field is at fault, its text in
        `field`; `unknown` the texts of events not in the map."""
        self.rows += rows
        self.left_out += left_out
        self.events += kept.height
        for rule, count, row, text in refused.group_by("rule").agg(pl.len(), pl.col("row", "field").sort_by("row").first()).iter_rows():
            self.refused[rule] = self.refused.get(rule, 0) + count
            if rule not in self.examples and text is not None:
                self.fields[rule] = text[:FIELD_SHOWN]
            self.examples.setdefault(rule, row)
        if unknown is not None:
            for event, count in sorted(unknown.value_counts().iter_rows(), key=lambda pair: (-pair[1], pair[0])):
                if event in self.unknown_events or len(self.unknown_events) < NAMES_KEPT:
                    self.unknown_events[event] = self.unknown_events.get(event, 0) + count
        for event, count in kept["event"].value_counts().iter_rows():
            self.event_counts[event] = self.event_counts.get(event, 0) + count
        if kept.height:
            times = kept["timestamp"]
            self.first = min(filter(None, (self.first, times.min())))
            self.last = max(filter(None, (self.last, times.max())))
            # Eight bytes a row are kept to count the duplicates of the whole part.
            self._hashes.append(kept.hash_rows(seed=0).to_numpy())

    @property
    def duplicates(self) -> int:
        """Rows that equal an earlier one of the part in every column; they are kept, and `recsys check` judges them."""
        if not self._hashes:
            return 0
        hashes = np.sort(np.concatenate(self._hashes))
        return int((hashes[1:] == hashes[:-1]).sum())

    def summary(self, checks: Checks, name: str) -> tuple[dict, list[Finding]]:
        """The content of the quality file (no paths, no timings), and the findings on the part; `name` is its file's in sentences."""
        unknown = sorted(self.unknown_events.items(), key=lambda pair: (-pair[1], pair[0]))
        future = self.refused.get("timestamp_is_not_in_the_future", 0)
        content = {
            "part": self.part,
            "file": self.file,
            "rows": self.rows,
            "events": self.events,
            "left_out_by_where": self.left_out,
            "quarantined": {REASONS[rule]: self.refused[rule] for rule in REASONS if rule in self.refused},
            "first_refused_rows": {REASONS[rule]: self.examples[rule] for rule in REASONS if rule in self.examples},
            "first_refused_fields": {REASONS[rule]: self.fields[rule] for rule in REASONS if rule in self.fields},
            "unknown_events": dict(unknown[:NAMES_SHOWN]),
            # The file's date, which a copy of the file may not share, stands here only where it mattered.
            "latest_believed": _iso(self.latest_believed) if future else None,
            "duplicates": self.duplicates,
            "event_counts": dict(sorted(self.event_counts.items())),
            "first": _iso(self.first),
            "last": _iso(self.last),
        }
        findings = judge_rows(content, checks, name)
        shown = ("figure", "threshold", "policy", "passed")
        return content | {"checks": {finding.check: {key: finding.summary()[key] for key in shown} for finding in findings}}, findings


def _iso(time: dt.datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
