"""From sessions of item ids to recommended item ids: what every package answers with, whatever its family."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import polars as pl

from recsys.errors import ConfigurationError, PackageError
from recsys.serving.rules import PLAIN, ItemList, Rules, most_diverse

if TYPE_CHECKING:
    from recsys.settings.serving import RuleSettings

PACKAGE_FORMAT = 1
"""Of `manifest.json`; raised when a package of the old format can no longer be read."""

POPULAR = "popular"
DEFAULT_K = 20
LARGEST_K = 100

LARGEST_EXACT = 2**53
"""Integers beyond this change when a JSON reader holds numbers as doubles, as browsers do; such ids travel as strings."""

_CANDIDATES_FOR_DIVERSITY = 100
"""Candidates among which a diverse answer is looked for, at least five times the answer's items."""

_SCORES_AT_ONCE = 2**24
_SESSIONS_AT_ONCE = 256


class Scorer(Protocol):
    """Ranks the items of one vocabulary."""

    def top(self, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and scores [B, k], best first; a score that is not finite marks no item."""


@runtime_checkable
class FurtherScorer(Scorer, Protocol):
    """A scorer whose lists end before the items do, and that can go on behind their ends."""

    def further(self, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `top` has it, and where its list ends before k, other items, each with a smaller score than the one before."""


@runtime_checkable
class StepwiseScorer(Scorer, Protocol):
    """A scorer that can go on from where a session was left: a click more is the work of one click, however long the session.

    Shapes: B sessions, S entries of a session's state.

    Attributes
    ----------
    state_width
        S: float32 numbers that a session is remembered by. Zeros are the state before the first click.
    """

    state_width: int

    def follow(self, sessions: list[list[int]]) -> np.ndarray:
        """States, float32 [B, S], after sessions of item indices, none of them empty."""

    def step(self, states: np.ndarray, items: list[int]) -> np.ndarray:
        """States, float32 [B, S], from `states` [B, S] and the item that each session clicks next."""

    def best(self, states: np.ndarray, sessions: list[list[int]], k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `top` has it, from states [B, S] and the sessions that led to them: these tell which items are left out.

        `top(sessions, k)` is `best(follow(sessions), sessions, k)`.
        """


def id_type_of(item_ids: pl.Series) -> str:
    """How a shop's ids travel: `string`, `integer`, or `hash`: integers that only survive as strings."""
    if not item_ids.dtype.is_integer():
        return "string"
    largest = max(abs(int(item_ids.min() or 0)), abs(int(item_ids.max() or 0)))
    return "hash" if largest > LARGEST_EXACT else "integer"


@dataclass(frozen=True)
class Answer:
    """What is recommended to a session.

    Attributes
    ----------
    items
        Item ids, best first.
    scores
        Of each.
    fallback
        None, or `popular` where the model could not answer.
    """

    items: np.ndarray
    scores: np.ndarray
    fallback: str | None = None


class Recommender:
    """Answers sessions of item ids.

    Parameters
    ----------
    scorer
        Ranks item indices.
    items
        `item_id` and `support` (clicks in training), and `category` and `name` where the shop has them, of each item index; indices are
        ordered by popularity, the most clicked first.
    id_type
        `integer`, `string` or `hash`.
    max_session_length
        Clicks of a session that are looked at, the last ones.
    """

    def __init__(self, scorer: Scorer, items: pl.DataFrame, id_type: str, max_session_length: int) -> None:
        self.id_type = id_type
        self.max_session_length = max_session_length
        self.scorer = scorer
        ids = items["item_id"].cast(pl.String).to_list() if id_type == "hash" else items["item_id"].to_list()
        self.index = {item: index for index, item in enumerate(ids)}
        self.ids = np.array(ids, dtype=np.int64 if id_type == "integer" else object)
        self.support = items["support"].to_numpy().astype(np.float32)
        self.names = items["name"].to_list() if "name" in items.columns else None
        self._categories, self._category_codes = _coded(items["category"]) if "category" in items.columns else (None, {})
        self._category_names = list(self._category_codes)
        self._at_once = max(1, min(_SESSIONS_AT_ONCE, _SCORES_AT_ONCE // max(len(ids), 1)))
        self._lists: dict[str, ItemList] = {}
        self._diversity = 0.0
        self._everywhere: np.ndarray | None = None

    @classmethod
    def load(cls, package: Path) -> "Recommender":
        """The recommender of a package folder.

        Raises
        ------
        PackageError
            If this version cannot read the package.
        """
        path = package / "manifest.json"
        if not path.is_file():
            raise PackageError(f"{package} is no package: it has no manifest.json")
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest.get("format") != PACKAGE_FORMAT:
            raise PackageError(
                f"{path} has the format {manifest.get('format')!r}; this version reads {PACKAGE_FORMAT}, so build the package again"
            )
        artifacts = package / "artifacts"
        items = pl.read_parquet(artifacts / "items.parquet")
        runtime = import_module(f"recsys.serving.{manifest['runtime']}_runtime")
        return cls(runtime.load_scorer(artifacts, manifest), items, manifest["id_type"], manifest["max_session_length"])

    def __len__(self) -> int:
        return len(self.ids)

    def category(self, item: int) -> str | None:
        """The category of an item index, where it is known."""
        return None if self._categories is None or self._categories[item] < 0 else self._category_names[self._categories[item]]

    def category_sizes(self) -> list[tuple[str, int]]:
        """Every category with the number of its items, the largest first."""
        if self._categories is None:
            return []
        sizes = np.bincount(self._categories[self._categories >= 0], minlength=len(self._category_names))
        return [(self._category_names[code], int(sizes[code])) for code in np.argsort(-sizes, kind="stable")]

    def keep_to(self, settings: "RuleSettings") -> None:
        """Recommend only what the settings let, from now on.

        Raises
        ------
        ConfigurationError
            If a file cannot be read, or the shop's catalogue does not say what the settings ask for.
        """
        paths = {"available": settings.available, "exclude": settings.exclude}
        lists = {
            name: ItemList(Path(path), self.index, f"serve.rules.{name}", may_be_empty=name == "exclude")
            for name, path in paths.items()
            if path is not None
        }
        everywhere = None
        if settings.categories is not None:
            unknown = [category for category in settings.categories if category not in self._category_codes]
            if unknown:
                raise ConfigurationError(
                    f"serve.rules.categories: no item of the package has the category {unknown[0]!r}; "
                    + (f"there are {', '.join(self._category_names[:5])}, …" if self._category_codes else "the package knows no categories")
                )
            everywhere = self._of_categories(tuple(settings.categories))
        if settings.diversity and not self.can_diversify:
            raise ConfigurationError("serve.rules.diversity: this model has no item vectors and the package no categories; leave it at 0")
        self._lists, self._diversity, self._everywhere = lists, settings.diversity, everywhere

    def refresh(self) -> list[str]:
        """Read the rules' files again where they changed; what each that could not be read has to say."""
        complaints = []
        for listed in self._lists.values():
            if listed.changed():
                try:
                    listed.read()
                except ConfigurationError as error:
                    complaints.append(str(error))
        return complaints

    @property
    def available(self) -> int:
        """Items that are on sale."""
        return int(self._lists["available"].mask.sum()) if "available" in self._lists else len(self)

    @property
    def can_diversify(self) -> bool:
        """Whether it is known how like two items are."""
        return hasattr(self.scorer, "vectors") or self._categories is not None

    @property
    def has_categories(self) -> bool:
        """Whether the package knows categories."""
        return self._categories is not None

    def _of_categories(self, categories: tuple[str, ...]) -> np.ndarray:
        codes = [self._category_codes[category] for category in categories if category in self._category_codes]
        return np.isin(self._categories, codes) if self._categories is not None else np.zeros(len(self), bool)

    def _allowed(self, rules: Rules) -> np.ndarray | None:
        """Whether each item may be recommended, [V]; None: all may."""
        masks = [] if self._everywhere is None else [self._everywhere]
        if rules.available and "available" in self._lists:
            masks.append(self._lists["available"].mask)
        if "exclude" in self._lists:
            masks.append(~self._lists["exclude"].mask)
        if rules.categories is not None:
            masks.append(self._of_categories(rules.categories))
        if rules.exclude:
            left = np.ones(len(self), dtype=bool)
            left[[self.index[item] for item in self._keys(rules.exclude) if item in self.index]] = False
            masks.append(left)
        return np.logical_and.reduce(masks) if masks else None

    def _keys(self, ids: Iterable) -> Iterable:
        return map(str, ids) if self.id_type == "hash" else ids

    def last_known(self, session: list, longest: int | None = None) -> list[int]:
        """Indices of the last `longest` items of a session that the vocabulary holds, oldest first."""
        index = self.index
        found = [index[item] for item in self._keys(session) if item in index]
        return found[-(longest or self.max_session_length) :]

    def popular(self, k: int, rules: Rules = PLAIN) -> Answer:
        """The most popular items that may be recommended, their clicks as scores."""
        allowed = self._allowed(rules)
        best = np.arange(min(k, len(self))) if allowed is None else np.flatnonzero(allowed)[:k]
        return Answer(self.ids[best], self.support[best], POPULAR)

    def answer(
        self,
        known: list[list[int]],
        k: int,
        rules: Rules = PLAIN,
        top: Callable[[list[int], int], tuple[np.ndarray, np.ndarray]] | None = None,
    ) -> list[Answer]:
        """The answer to each session of item indices.

        A session without any gets the most popular items, and so does one to which the rules leave nothing of the model's.

        Parameters
        ----------
        known
            Item indices, oldest click first.
        k
            Items an answer; fewer where the vocabulary or the rules leave fewer.
        rules
            What the request asks of its answers.
        top
            The best items of the sessions in these rows, in another way than from their items: indices and scores [rows, k].
        """
        further = top
        if top is None:

            def top(rows: list[int], k: int) -> tuple[np.ndarray, np.ndarray]:
                return self.scorer.top([known[row] for row in rows], k)

            def further(rows: list[int], k: int) -> tuple[np.ndarray, np.ndarray]:
                ask = self.scorer.further if isinstance(self.scorer, FurtherScorer) else self.scorer.top
                return ask([known[row] for row in rows], k)

        allowed = self._allowed(rules)
        diversity = self._diversity if rules.diversity is None else rules.diversity
        answers: list[Answer | None] = [None] * len(known)
        # Sessions of like length share a batch, so that little of it is padding.
        asked = sorted((row for row, session in enumerate(known) if session), key=lambda row: len(known[row]))
        for begin in range(0, len(asked), self._at_once):
            rows = asked[begin : begin + self._at_once]
            if allowed is None and not diversity:
                indices, scores = top(rows, k)
                listed = np.isfinite(scores)
                if listed.all():
                    for row, items, its_scores in zip(rows, self.ids[indices], scores, strict=True):
                        answers[row] = Answer(items, its_scores)
                    continue
                found = [(indices[at][listed[at]], scores[at][listed[at]]) for at in range(len(rows))]
            else:
                wanted = max(_CANDIDATES_FOR_DIVERSITY, 5 * k) if diversity else k
                # Only where items may not be recommended does a list go on behind what the model itself ranks.
                found = self._allowed_best(rows, wanted, allowed, top if allowed is None else further)
                if diversity:
                    found = [self._diverse(items, its_scores, k, diversity) for items, its_scores in found]
            for row, (items, its_scores) in zip(rows, found, strict=True):
                if len(items):
                    answers[row] = Answer(self.ids[items], its_scores)
        if None in answers:
            popular = self.popular(k, rules)
            answers = [popular if given is None else given for given in answers]
        return answers

    def _allowed_best(
        self,
        rows: list[int],
        wanted: int,
        allowed: np.ndarray | None,
        top: Callable[[list[int], int], tuple[np.ndarray, np.ndarray]],
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best `wanted` of each row that are allowed: lists are asked for ever deeper until they hold as many."""
        left_out = 0 if allowed is None else len(self) - int(allowed.sum())
        within = len(self) - left_out
        depth = min(len(self), wanted + min(left_out, wanted))
        before = -1
        while True:
            indices, scores = top(rows, depth)
            keep = np.isfinite(scores)
            listed = int(keep.sum())
            if allowed is not None:
                keep &= allowed[np.where(keep, indices, 0)]
            if depth >= len(self) or listed == before or int(keep.sum(axis=1).min()) >= min(wanted, within):
                return [(indices[at][keep[at]][:wanted], scores[at][keep[at]][:wanted]) for at in range(len(rows))]
            depth, before = min(len(self), 4 * depth), listed

    def _diverse(self, items: np.ndarray, scores: np.ndarray, k: int, diversity: float) -> tuple[np.ndarray, np.ndarray]:
        if not len(items):
            return items, scores
        vectors = getattr(self.scorer, "vectors", None)
        if vectors is not None:
            directions = vectors(items)  # [C, W]
            directions = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), np.finfo(np.float32).tiny)
            likeness = directions @ directions.T
        else:
            own = self._categories[items]
            likeness = ((own[:, None] == own[None, :]) & (own >= 0)[:, None]).astype(np.float32)
        chosen = most_diverse(scores, likeness, k, diversity)
        return items[chosen], scores[chosen]

    def recommend(
        self, sessions: list[list], k: int = DEFAULT_K, max_session_length: int | None = None, rules: Rules = PLAIN
    ) -> list[dict[str, Any]]:
        """The answer to each session: `recommendations`, `scores`, and `fallback`.

        Items that the shop's catalogue did not hold at training are skipped. A session with none left gets the most popular items,
        their clicks as scores, and the fallback `popular`; otherwise the fallback is None.

        Parameters
        ----------
        sessions
            Item ids, oldest click first.
        k
            Items an answer, at least 1; fewer where the vocabulary or the rules leave fewer.
        max_session_length
            Clicks of a session that are looked at, the last ones; None: what the package was made with.
        rules
            What is asked of the answers.
        """
        known = [self.last_known(session, max_session_length) for session in sessions]
        return [
            {"recommendations": given.items.tolist(), "scores": given.scores.tolist(), "fallback": given.fallback}
            for given in self.answer(known, k, rules)
        ]


def _coded(categories: pl.Series) -> tuple[np.ndarray, dict[str, int]]:
    """A code for each item's category, -1 where it has none, and the codes."""
    names = categories.drop_nulls().unique().sort().to_list()
    codes = {name: code for code, name in enumerate(names)}
    return np.array([-1 if name is None else codes[name] for name in categories], dtype=np.int32), codes
