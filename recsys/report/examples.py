"""Example sessions of the test split, with what the package recommends in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys.catalogue.lookup import categories_of, names
from recsys.report.page import Markup, element, table, write_page
from recsys.sessions.table import Sessions

EXAMPLES = 10
RECOMMENDED = 10
MOST_CLICKS = 12
"""Clicks of a session that are written out, the last ones."""


@dataclass(frozen=True)
class Example:
    """A session, cut in the middle.

    Attributes
    ----------
    session
        Its row among the test sessions.
    length
        Its clicks.
    seen, to_come : int32 arrays
        Item indices before the cut, and from the next click on.
    times : int64 [length]
        Milliseconds since 1970-01-01 UTC.
    recommended, scores : arrays [RECOMMENDED]
        Item indices (-1: none that the vocabulary knows) and their scores, best first.
    """

    session: int
    length: int
    seen: np.ndarray
    to_come: np.ndarray
    times: np.ndarray
    recommended: np.ndarray
    scores: np.ndarray


def choose_sessions(lengths: np.ndarray, wanted: int = EXAMPLES) -> np.ndarray:
    """Rows of `wanted` sessions, evenly over the sessions ordered by length (then by row): the middles of as many equal parts."""
    order = np.argsort(lengths, kind="stable")
    wanted = min(wanted, len(order))
    return order[((2 * np.arange(wanted) + 1) * len(order)) // (2 * wanted)] if wanted else order


def cut_of(length: int) -> int:
    """Clicks of a session that are shown to the model: half of them, rounded up, so that one is left at least."""
    return min((length + 1) // 2, length - 1)


def recommend_examples(package: Path, sessions: Sessions, item_ids: pl.Series) -> list[Example]:
    """The chosen sessions, each with what the package, opened through MLflow, recommends after the first half of it.

    Parameters
    ----------
    package
        The package folder.
    sessions
        Test sessions, with `times`.
    item_ids
        The id of each item index.
    """
    from recsys.serving.parity import PackageUnderTest

    chosen = choose_sessions(sessions.lengths)
    clicks = [sessions[int(row)] for row in chosen]
    seen = [items[: cut_of(len(items))] for items in clicks]
    answers = PackageUnderTest(package, item_ids).predict(seen, min(RECOMMENDED, len(item_ids))) if len(chosen) else []
    return [
        Example(
            session=int(row),
            length=len(items),
            seen=before,
            to_come=items[len(before) :],
            times=sessions.times[sessions.offsets[row] : sessions.offsets[row + 1]],
            recommended=recommended,
            scores=scores,
        )
        for row, items, before, (recommended, scores) in zip(chosen, clicks, seen, answers, strict=True)
    ]


def describe_items(item_ids: pl.Series, wanted: Sequence[int], properties: pl.DataFrame | None) -> dict[int, tuple[str, str]]:
    """Name and category by item index: the id stands in for a name, nothing for a category, where the catalogue has none."""
    ids = {index: item_ids[index] for index in wanted}
    named, categories = {}, {}
    if properties is not None:
        named = names(properties, ids.values())
        categories = dict(categories_of(properties).iter_rows())
    return {index: (named.get(item) or str(item), categories.get(item) or "") for index, item in ids.items()}


def _after(milliseconds: int) -> str:
    """A time since the first click, such as `+0:35` or `+1:02:05`."""
    seconds = round(milliseconds / 1000)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"+{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"+{minutes}:{seconds % 60:02}"


def written_scores(scores: np.ndarray) -> list[str]:
    """Scores with as many decimals as the largest needs for four figures; whole numbers without any."""
    finite = np.abs(scores[np.isfinite(scores)])
    largest = float(finite.max(initial=0.0))
    whole = not largest or bool((finite == np.round(finite)).all())
    decimals = 0 if whole else int(np.clip(3 - np.floor(np.log10(largest)), 0, 8))
    return [f"{float(score):,.{decimals}f}" for score in scores]


def _section(number: int, example: Example, items: dict[int, tuple[str, str]], with_categories: bool) -> Markup:
    following, later = int(example.to_come[0]), {int(item) for item in example.to_come[1:]}
    category = ["category"] if with_categories else []

    def cells(index: int) -> list[str]:
        name, own = items.get(index, ("an item that is unknown here", ""))
        return [name, own] if with_categories else [name]

    first = max(0, len(example.seen) - MOST_CLICKS)
    clicked = [
        [place + 1, *cells(int(item)), _after(int(example.times[place] - example.times[0]))]
        for place, item in enumerate(example.seen)
        if place >= first
    ]
    place = len(example.seen)
    clicked.append([f"{place + 1}", *cells(following), _after(int(example.times[place] - example.times[0]))])
    left_out = f" (the first {first} are left out here)" if first else ""
    remaining = f", and {len(example.to_come) - 1} more later" if len(example.to_come) > 1 else ""

    before = {int(item) for item in example.seen}
    rows, styles, hit = [], [], None
    for rank, (index, score) in enumerate(zip(example.recommended, written_scores(example.scores), strict=True), start=1):
        mark = ""
        if index == following:
            mark, hit = "clicked next", rank
        elif int(index) in later:
            mark = "clicked later"
        elif int(index) in before:
            mark = "clicked before"
        rows.append([rank, *cells(int(index)), score, mark])
        styles.append({"clicked next": "hit", "clicked later": "later"}.get(mark, ""))
    found = f"the next click stands at rank {hit}" if hit else f"the next click is not among the {len(rows)} recommended"
    return element(
        "section",
        element("h2", f"Session {number}: {example.length} clicks"),
        element("p", f"The model saw {len(example.seen)} of them{left_out}; one came next{remaining}. Result: {found}.", style="quiet"),
        element(
            "div",
            element(
                "div",
                element("h3", "Clicked so far, and the next click (last row)"),
                table(
                    ["click", "item", *category, "after"],
                    clicked,
                    numbers=("click", "after"),
                    styles=[""] * (len(clicked) - 1) + ["hit"],
                ),
            ),
            element(
                "div",
                element("h3", "Recommended at that point"),
                table(["rank", "item", *category, "score", "hit"], rows, numbers=("rank", "score"), styles=styles),
            ),
            style="columns",
        ),
    )


def write_examples(path: Path, examples: Sequence[Example], sessions: int, items: dict[int, tuple[str, str]]) -> None:
    """The page with the example sessions.

    Parameters
    ----------
    path
        Where to write it.
    examples
        Of `recommend_examples`.
    sessions
        Test sessions in all.
    items
        Of `describe_items`.
    """
    with_categories = any(category for _, category in items.values())
    hits = sum(int(example.to_come[0]) in example.recommended for example in examples)
    told = (
        f"{len(examples)} of the {sessions:,} test sessions, chosen by no one: the sessions are ordered by their number of clicks (then by "
        f"their start), cut into {len(examples)} parts of one size, and the middle one of each part is shown. Each is cut in the middle; "
        f"the package, opened as MLflow opens it for serving, is asked for {RECOMMENDED} items after the first half. Clicks on items "
        "that training does not know are left out, as in the evaluation."
    )
    outcome = (
        f"The next click is among the {RECOMMENDED} recommended items in {hits} of the {len(examples)} sessions. So few sessions show "
        "what recommendations look like, not how good they are; the figures of the test split do."
    )
    content = [_section(number, example, items, with_categories) for number, example in enumerate(examples, start=1)]
    write_page(path, "Example sessions and what is recommended in them", element("p", told), element("p", outcome), *content)
