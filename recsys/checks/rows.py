"""Checks of the rows a part refused, from the counts that ingestion made: quarantined, unknown_events, future_times."""

from typing import Any

from recsys.checks.finding import Finding
from recsys.events.contract import FIELDS, REASONS, REMEDIES
from recsys.events.timestamps import believable_unit
from recsys.settings.checks import Checks

_BEYOND_ACCEPTING = 0.5
"""Share of refused rows from which on the way to read them must be wrong, so that nobody is told to accept it."""

_RULES = {reason: rule for rule, reason in REASONS.items()}


def judge_rows(counts: dict[str, Any], checks: Checks, name: str) -> list[Finding]:
    """The three findings on one part.

    Parameters
    ----------
    counts
        The content of a part's quality file.
    checks
        Thresholds and policies.
    name
        How the raw file is called in sentences.
    """
    refused = {_RULES[reason]: number for reason, number in counts["quarantined"].items()}
    rows = counts["rows"] - counts["left_out_by_where"]
    return [
        _quarantined(refused, counts, rows, checks, name),
        _unknown_events(refused, counts["unknown_events"], rows, checks, name),
        _future_times(refused, counts, rows, checks, name),
    ]


def _share(number: int, rows: int) -> float:
    return number / rows if rows else 0.0


def _remedy(rule: str, text: str | None) -> str:
    """What a user can do about a rule's rows, given the field of the first of them."""
    unit = believable_unit(text) if text is not None and FIELDS[rule] == "timestamp" else None
    return f"set source.timestamps.unit to {unit[0]!r}, which makes it {unit[1]}" if unit is not None else REMEDIES[rule]


def _reason(rule: str, refused: dict[str, int], counts: dict[str, Any]) -> str:
    """A reason, how often and where first it was met, and what a user can do about it."""
    reason = REASONS[rule]
    text = counts["first_refused_fields"].get(reason)
    shown = f", which has {text!r}" if text is not None else ""
    return f"{reason} ({refused[rule]:,} times, first in row {counts['first_refused_rows'][reason]}{shown}): {_remedy(rule, text)}"


def _quarantined(refused: dict[str, int], counts: dict[str, Any], rows: int, checks: Checks, name: str) -> Finding:
    check, total, first = checks.quarantined, sum(refused.values()), counts["first_refused_rows"]
    share = _share(total, rows)
    sentence = ""
    if share > check.threshold:
        main, *others = sorted((rule for rule in REASONS if rule in refused), key=lambda rule: -refused[rule])
        enough = [rule for rule in others if _share(refused[rule], rows) > check.threshold]
        also = f"; also because {', and because '.join(_reason(rule, refused, counts) for rule in enough)}" if enough else ""
        accept = ", or raise checks.quarantined.threshold" if share < _BEYOND_ACCEPTING else ""
        sentence = (
            f"{name}: {total:,} of {rows:,} rows ({share:.1%}) were refused, more than checks.quarantined.threshold allows "
            f"({check.threshold:.1%}); most often because {_reason(main, refused, counts)}{accept}{also}"
        )
    examples = [
        {"reason": reason, "rows": refused[rule], "first_row": first[reason]}
        for rule, reason in sorted(REASONS.items(), key=lambda pair: -refused.get(pair[0], 0))
        if rule in refused
    ]
    return Finding("quarantined", share, check.threshold, check.policy, sentence, {"rows": total}, examples)


def _unknown_events(refused: dict[str, int], events: dict[str, int], rows: int, checks: Checks, name: str) -> Finding:
    check, total = checks.unknown_events, refused.get("event_is_known", 0)
    share = _share(total, rows)
    sentence = ""
    if share > check.threshold:
        worst, times = next(iter(events.items()))
        sentence = (
            f"{name}: the event of {total:,} of {rows:,} rows ({share:.1%}) is not in event_map, more than checks.unknown_events.threshold "
            f"allows ({check.threshold:.1%}); most often {worst!r} ({times:,} times): {REMEDIES['event_is_known']}, or raise "
            "checks.unknown_events.threshold"
        )
    examples = [{"event": event, "rows": number} for event, number in events.items()]
    return Finding("unknown_events", share, check.threshold, check.policy, sentence, {"rows": total}, examples)


def _future_times(refused: dict[str, int], counts: dict[str, Any], rows: int, checks: Checks, name: str) -> Finding:
    check, total = checks.future_times, refused.get("timestamp_is_not_in_the_future", 0)
    share = _share(total, rows)
    sentence, examples = "", []
    if total:
        reason = REASONS["timestamp_is_not_in_the_future"]
        examples = [{"rows": total, "first_row": counts["first_refused_rows"][reason], "latest_believed": counts["latest_believed"]}]
    if share > check.threshold:
        sentence = (
            f"{name}: {total:,} of {rows:,} rows ({share:.1%}) are later than {counts['latest_believed']}, when the file was last written "
            f"and checks.future_times.tolerance after it, more than checks.future_times.threshold allows ({check.threshold:.1%}); the "
            f"first is row {examples[0]['first_row']}: {REMEDIES['timestamp_is_not_in_the_future']}"
        )
    return Finding("future_times", share, check.threshold, check.policy, sentence, {"rows": total}, examples)


def judge_parts(parts: list[dict[str, Any]], checks: Checks) -> list[Finding]:
    """The three findings on a log: the figure is that of the worst part.

    Parameters
    ----------
    parts
        The contents of the parts' quality files.
    checks
        Thresholds and policies.
    """
    found = {counts["part"]: judge_rows(counts, checks, counts["file"]) for counts in parts}
    return [_worst(list(found), [findings[place] for findings in found.values()]) for place in range(3)]


def _worst(names: list[str], findings: list[Finding]) -> Finding:
    order = sorted(range(len(names)), key=lambda place: (-findings[place].figure, place))
    worst, failed = findings[order[0]], sum(not finding.passed for finding in findings)
    more = f" ({failed - 1} more {'part fails' if failed == 2 else 'parts fail'} the same check)" if failed > 1 else ""
    return Finding(
        worst.check,
        worst.figure,
        worst.threshold,
        worst.policy,
        worst.sentence + more,
        {"rows": sum(finding.affected["rows"] for finding in findings), "parts": sum(finding.affected["rows"] > 0 for finding in findings)},
        [{"part": names[place]} | example for place in order for example in findings[place].examples[:1]],
        {
            name: {"figure": round(finding.figure, 6), "passed": finding.passed, **finding.affected}
            for name, finding in zip(names, findings, strict=True)
        },
    )
