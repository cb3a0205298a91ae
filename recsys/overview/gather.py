"""The overview of a log: everything a first hour with it would show, as numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsys.files import read_json
from recsys.overview.funnel import funnel
from recsys.overview.items import arrivals, category_depth, popularity, sparsity
from recsys.overview.log import Log
from recsys.overview.steps import preparation
from recsys.overview.traffic import traffic
from recsys.overview.visits import pauses, repeats, returning, session_lengths
from recsys.sessions.table import Sessions


@dataclass(frozen=True)
class Prepared:
    """The files that the preparation of a log leaves.

    Attributes
    ----------
    parts, test_parts
        Event files of the log, and of a separate test log.
    qualities
        A quality file a part.
    sessions, catalogue, summary
        As `recsys sessionize` writes them.
    counts
        By fit window, as `recsys encode` writes them.
    exclusions
        Events that the checks dropped.
    categories, properties
        The shop's item data; None where the source has none.
    """

    parts: list[Path]
    test_parts: list[Path]
    qualities: list[Path]
    sessions: Path
    catalogue: Path
    summary: Path
    counts: dict[str, Path]
    exclusions: Path | None = None
    categories: Path | None = None
    properties: Path | None = None


def overview(files: Prepared, gap: int) -> dict[str, Any]:
    """All numbers of the overview; a part that the log has nothing for is None.

    Parameters
    ----------
    files
    gap
        Milliseconds; a longer pause starts a session, unless the log has sessions of its own.

    Raises
    ------
    DataError
        If the log holds no event.
    """
    summary = read_json(files.summary)
    names = summary["event_codes"]
    exclusions = pl.scan_parquet(files.exclusions) if files.exclusions is not None else None
    log = Log.of_parts(files.parts, files.test_parts, exclusions)
    catalogue = pl.read_parquet(files.catalogue)
    found, timeline = traffic(log, names, summary["cut_times"])
    own_gap = None if log.has_sessions else gap
    ordered = log.in_order(names)
    pause = pauses(ordered, own_gap)
    steps = funnel(ordered, names, catalogue, own_gap)
    del ordered
    table = pl.read_parquet(files.sessions, columns=["items", "visitor_id"])
    sessions, visitors = Sessions.from_frame(table.select("items")), table["visitor_id"]
    depth = None
    if files.categories is not None and files.properties is not None:
        depth = category_depth(pl.read_parquet(files.categories), pl.scan_parquet(files.properties), catalogue["item_id"])
    return {
        "traffic": found,
        "funnel": steps,
        "sessions": session_lengths(sessions),
        "pauses": pause,
        "repeats": repeats(sessions),
        "returning": returning(visitors),
        "popularity": popularity(sessions, catalogue.height),
        "new_items": arrivals(catalogue["first_seen"], timeline),
        "sparsity": sparsity(sessions, visitors, catalogue.height),
        "categories": depth,
        "preparation": preparation(
            [read_json(path) for path in files.qualities],
            summary,
            catalogue,
            {window: read_json(path) for window, path in files.counts.items()},
        ),
    }


def key_figures(found: Mapping[str, Any]) -> pl.DataFrame:
    """A table for people: `topic`, `figure`, `value` and `unit`, all text; what the log has nothing for is said there too."""
    traffic, sessions, popularity, sparse = (found[name] for name in ("traffic", "sessions", "popularity", "sparsity"))
    rows: list[Sequence[str]] = [
        ("log", "first event", traffic["first"], "UTC"),
        ("log", "last event", traffic["last"], "UTC"),
        ("log", "time from first to last", _number(traffic["span_days"]), "days"),
        *(("log", f"events of type {kind}", _number(number), "events") for kind, number in traffic["events"].items()),
        ("sessions", "sessions", _number(sessions["sessions"]), "sessions"),
        ("sessions", "clicks in sessions", _number(sessions["clicks"]), "clicks"),
        ("sessions", "sessions of one click", _percent(sessions["of_one_click_share"]), "% of sessions"),
        *(("sessions", f"session length, {name}", _number(value), "clicks") for name, value in sessions["spread"].items()),
        *_pause_rows(found["pauses"]),
        ("repeats", "clicks on an item clicked before in the session", _percent(found["repeats"]["share_of_clicks"]), "% of clicks"),
        ("repeats", "sessions with such a click", _percent(found["repeats"]["share_of_sessions"]), "% of sessions"),
        *_visitor_rows(found["returning"]),
        ("items", "items", _number(sparse["items"]), "items"),
        ("items", "items with a click", _number(popularity["items_clicked"]), "items"),
        *(("items", f"clicks an item, {name}", _number(value), "clicks") for name, value in popularity["spread"].items()),
        *(
            ("items", f"clicks on the top {float(part):.0%} of items", _percent(share), "% of clicks")
            for part, share in popularity["share_of_clicks_of_top"].items()
        ),
        ("items", "Gini coefficient of the clicks", f"{popularity['gini']:.3f}", "0 to 1"),
        ("sparsity", f"pairs of {sparse['of']} and item with a click", _number(sparse["pairs"]), "pairs"),
        ("sparsity", "share of all pairs", f"{sparse['density']:.2g}", "1"),
        *_funnel_rows(found["funnel"]),
        *_category_rows(found["categories"]),
    ]
    return pl.DataFrame(rows, schema=["topic", "figure", "value", "unit"], orient="row")


def _pause_rows(pause: Mapping[str, Any] | None) -> list[Sequence[str]]:
    if pause is None:
        return [("pauses", "pauses between events", "none: nobody acts twice", "")]
    rows = [("pauses", f"pause between events, {name}", _number(value), "s") for name, value in pause["spread_seconds"].items()]
    if pause["gap_seconds"] is None:
        return [*rows, ("pauses", "gap", "not used: the log has sessions", "")]
    longer = _percent(pause["longer_than_gap_share"])
    return [*rows, ("pauses", "gap", _number(pause["gap_seconds"]), "s"), ("pauses", "pauses longer than the gap", longer, "% of pauses")]


def _visitor_rows(returning: Mapping[str, Any] | None) -> list[Sequence[str]]:
    if returning is None:
        return [("visitors", "visitors", "not known: the log has only sessions", "")]
    return [
        ("visitors", "visitors", _number(returning["visitors"]), "visitors"),
        ("visitors", "visitors with more than one session", _percent(returning["returning_visitors_share"]), "% of visitors"),
        ("visitors", "sessions of visitors who came before", _percent(returning["later_sessions_share"]), "% of sessions"),
        *(("visitors", f"sessions a visitor, {name}", _number(value), "sessions") for name, value in returning["spread"].items()),
    ]


def _funnel_rows(funnel: Mapping[str, Any] | None) -> list[Sequence[str]]:
    if funnel is None:
        return [("funnel", "view, cart, purchase", "not drawn: the log has fewer than two of these events", "")]
    return [
        ("funnel", f"{of} with a {kind}", f"{_number(count)} ({count / funnel['all'][of]:.1%})", of)
        for of, counts in funnel["reached"].items()
        for kind, count in zip(funnel["steps"], counts, strict=True)
    ]


def _category_rows(categories: Mapping[str, Any] | None) -> list[Sequence[str]]:
    if categories is None:
        return [("categories", "category tree", "not drawn: the source has none", "")]
    return [
        ("categories", "categories", _number(sum(categories["categories"])), "categories"),
        ("categories", "deepest level (roots: 0)", _number(categories["depth"][-1]), "levels"),
        ("categories", "items without a category", _number(categories["items_without_category"]), "items"),
        ("categories", "items in a category outside the tree", _number(categories["items_outside_the_tree"]), "items"),
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def _percent(share: float) -> str:
    return f"{share:.1%}".removesuffix("%")
