"""What a check found: its figure against the threshold, whom it concerns, and what follows by its policy."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from recsys.errors import DataError

EXAMPLES = 10
"""Worst examples that a finding names at most."""


@dataclass(frozen=True)
class Finding:
    """One check on one log, part or fit window.

    Attributes
    ----------
    check
        The key under `checks`.
    figure
        What was measured; None where the check is not judged.
    threshold, policy
        As configured.
    sentence
        What a user is told where the check fails: figure, threshold, worst example, and the key to change.
    affected
        How many rows, days, visitors, … are concerned.
    examples
        The worst ones first.
    parts
        The same by part, where a part can be concerned by itself.
    not_judged
        Why there is no figure.
    """

    check: str
    figure: float | None
    threshold: float
    policy: str
    sentence: str = ""
    affected: dict[str, int] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_judged: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the figure is no greater than the threshold; a check that is not judged passes."""
        return self.figure is None or self.figure <= self.threshold

    def summary(self) -> dict[str, Any]:
        """The finding as the quality files hold it."""
        return {
            "figure": None if self.figure is None else round(self.figure, 6),
            "threshold": self.threshold,
            "policy": self.policy,
            "passed": self.passed,
            "not_judged": self.not_judged,
            "affected": self.affected,
            "examples": self.examples[:EXAMPLES],
            "parts": self.parts,
            "sentence": None if self.passed else self.sentence,
        }


def failed_checks(quality: dict[str, Any]) -> list[str]:
    """What `quality/quality.json` tells of the checks that failed, a sentence each."""
    failed = [finding for finding in quality["checks"] if not finding["passed"]]
    return [finding["sentence"] + (" (in the test log)" if finding["of"] == "the test log" else "") for finding in failed]


def enforce(findings: Iterable[Finding]) -> None:
    """Say what failed, and stop where a policy says so.

    Raises
    ------
    DataError
        With the sentences of all failed checks whose policy is stop, a line each.
    """
    failed = [finding for finding in findings if not finding.passed]
    for finding in failed:
        if finding.policy != "stop":
            print(f"recsys: warning: {finding.sentence}", file=sys.stderr)
    stops = [finding.sentence for finding in failed if finding.policy == "stop"]
    if stops:
        raise DataError("\n".join(stops))
