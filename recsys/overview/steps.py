"""What each step of the preparation removed, from the raw rows to the clicks that a model learns from."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl


def _chain(begin: str, number: int, removed: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """What is left after each step; the first entry says what there was."""
    steps: list[dict[str, Any]] = [{"step": begin, "removed": None, "left": number}]
    for step, less in removed:
        number -= less
        steps.append({"step": step, "removed": less, "left": number})
    return steps


def preparation(
    qualities: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    catalogue: pl.DataFrame,
    counts: Mapping[str, Mapping[str, Any]],
) -> dict[str, list[dict[str, Any]]]:
    """The steps from raw rows to clicks, and of each fit window from clicks to training clicks.

    Parameters
    ----------
    qualities
        The content of every part's quality file.
    summary, catalogue
        As `recsys sessionize` writes them.
    counts
        Of the windows `select` and `final`, as `recsys encode` writes them.

    Returns
    -------
    dict
        `log`, `final` and `select`: a list of `{"step", "removed", "left"}` each.
    """
    rows, events = (sum(quality[name] for quality in qualities) for name in ("rows", "events"))
    left_out = sum(quality["left_out_by_where"] for quality in qualities)
    used = summary["events"]["log"] + summary["events"]["test_log"]
    clicks = summary["settings"]["sessions"]["clicks"]
    no_clicks = 0 if clicks is None else sum(int(catalogue[kind].sum()) for kind in _kinds(catalogue) if kind not in clicks)
    log = [
        ("left out by source.where", left_out),
        ("cannot be read (quarantine)", rows - left_out - events),
        *((f"removed by the check {check}", number) for check, number in summary["removed_by_checks"].items()),
        ("no clicks (sessions.clicks)", no_clicks),
        ("directly repeated (drop_repeats)", used - no_clicks - summary["clicks"]),
    ]
    return {
        "log": _chain("rows of the raw files", rows, log),
        "final": _window("final", "test", summary["clicks"], counts["final"]),
        "select": _window("select", "valid", counts["final"]["train"]["clicks"], counts["select"]),
    }


def _kinds(catalogue: pl.DataFrame) -> list[str]:
    return [name for name in catalogue.columns if name not in ("code", "item_id", "first_seen")]


def _window(window: str, held_out: str, number: int, counts: Mapping[str, Any]) -> list[dict[str, Any]]:
    left, removed = number, []
    if window == "final" and "filtered_before_the_split" in counts:
        # The protocol of the published figures asks for support and session length before the split; select begins after it.
        left = counts["filtered_before_the_split"]["clicks"]
        removed.append(("rare items and short sessions, before the split", number - left))
    kept, rare = counts["train"]["clicks"], counts["train_clicks_on_items_left_out"]
    removed += [
        ("test sessions" if held_out == "test" else "validation sessions", counts[held_out]["clicks"]),
        ("after the cut, in crossing sessions", left - counts[held_out]["clicks"] - kept),
        ("items with too few clicks", rare),
        ("sessions that are too short", kept - rare - counts["train_filtered"]["clicks"]),
    ]
    return _chain("clicks of all sessions" if window == "final" else "clicks before the test cut", number, removed)
