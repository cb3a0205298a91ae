"""A re-ranker: boosted trees correct a blend's order by what the session and the items look like.

Source: Burges, "From RankNet to LambdaRank to LambdaMART: an overview", 2010. The trees learn from the same past as the blend's weights;
what they cannot tell apart stays in the blend's order.

Shapes: Q queries, U candidates of all queries together, V items, F features.
"""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from recsys.models.blend import Blend
from recsys.models.candidates import Candidates
from recsys.models.interface import FitData, Queries
from recsys.models.item_facts import ItemFacts, facts_of_candidates
from recsys.settings.blend import RerankerParameters
from recsys.threads import threads

if TYPE_CHECKING:
    import lightgbm

_TREES = "trees-{stage}.txt"
_UNLISTED = 1_000
"""Rank that stands for not being listed by a member."""
_JUDGED = 20
"""Places whose order the trees are to get right."""
_TIE = 1e-6
"""What a place in the blend's order weighs beside the trees' scores, which lie within a few units of 0: enough to part ties in float32."""


class Reranker(Blend):
    """A blend, put in a new order.

    Attributes
    ----------
    facts_ : ItemFacts
        What the training sessions say of the items.
    trees_ : list of lightgbm.Booster, or None
        One a stage; None where there was nothing to learn from.
    """

    family: ClassVar[str] = "reranker"
    parameters_class: ClassVar[type[RerankerParameters]] = RerankerParameters

    parameters: RerankerParameters
    facts_: ItemFacts
    trees_: "list[lightgbm.Booster | None]"

    def describe(self, data: FitData) -> None:
        """As `Combined` has it."""
        self.facts_ = ItemFacts.of(data.train, data.n_items, self.parameters.recent, self.parameters.least_clicks, data.categories)

    def begin(self) -> None:
        """Forget every stage."""
        super().begin()
        self.trees_ = []

    def learn(self, queries: Queries, candidates: Candidates, chosen: np.ndarray) -> None:
        """As `Combined` has it: the blend's weights, then the trees on what it orders best."""
        super().learn(queries, candidates, chosen)
        if not len(chosen):
            self.trees_.append(None)
            return
        stage = len(self.weights_) - 1
        scores = super().combine(stage, queries, candidates)
        best, places, order = self._best(candidates, scores)
        clicked = np.zeros(len(scores), np.int8)
        clicked[chosen] = 1
        # A query whose target is not among the best teaches no order.
        told = np.bincount(best.queries[clicked[places] == 1], minlength=len(best)) > 0
        rows = np.repeat(told, np.diff(best.offsets))
        if not rows.any():
            self.trees_.append(None)
            return
        features = self._features(queries, best, scores[places], order)
        groups = np.diff(best.offsets)[told]
        self.trees_.append(self._grow(features[rows], clicked[places][rows], groups))

    def _grow(self, features: np.ndarray, clicked: np.ndarray, groups: np.ndarray) -> "lightgbm.Booster":
        import lightgbm

        settings = {
            "objective": "lambdarank",
            "lambdarank_truncation_level": _JUDGED,
            "num_leaves": self.parameters.leaves,
            "learning_rate": self.parameters.learning_rate,
            "min_data_in_leaf": self.parameters.least_in_leaf,
            "feature_fraction": self.parameters.feature_share,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": threads(),
            "verbose": -1,
        }
        return lightgbm.train(settings, lightgbm.Dataset(features, clicked, group=groups), self.parameters.rounds)

    def combine(self, stage: int, queries: Queries, candidates: Candidates) -> np.ndarray:
        """As `Combined` has it: the blend's order, corrected; -inf below its best."""
        scores = super().combine(stage, queries, candidates)
        best, places, order = self._best(candidates, scores)
        corrected = np.full(len(scores), -np.inf, np.float32)
        trees = self.trees_[stage]
        if trees is None or not len(places):
            corrected[places] = scores[places]
        else:
            grown = trees.predict(self._features(queries, best, scores[places], order), num_threads=threads())
            corrected[places] = grown - _TIE * order
        return corrected

    def _best(self, candidates: Candidates, scores: np.ndarray) -> tuple[Candidates, np.ndarray, np.ndarray]:
        """Each query's best candidates by the blend; which they are, and each one's place in its query from 0: int64."""
        sorted_rows = np.lexsort((candidates.items, -scores, candidates.queries))
        order = np.empty(len(sorted_rows), np.int64)
        order[sorted_rows] = np.arange(len(sorted_rows)) - candidates.offsets[candidates.queries]
        places = np.flatnonzero(order < self.parameters.depth)
        return candidates.at(places), places, order[places]

    def _features(self, queries: Queries, best: Candidates, scores: np.ndarray, order: np.ndarray) -> np.ndarray:
        """float32 [U, F]: what the members say, the blend, and the facts."""
        highest = best.over_queries(scores, np.maximum)
        columns = [*self._said(best).T, *np.where(best.ranks > 0, best.ranks, _UNLISTED).T, *best.scores.T, scores - highest, order]
        columns += facts_of_candidates(self.facts_, queries, best).values()
        return np.stack(columns, axis=1).astype(np.float32)

    def take_over(self, learned: Self) -> None:
        """As `Combined` has it."""
        super().take_over(learned)
        self.trees_ = learned.trees_[-1:]

    def arrays(self) -> dict[str, np.ndarray]:
        """Those of the blend, and the facts."""
        return super().arrays() | {f"facts.{name}": array for name, array in vars(self.facts_).items()}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over what `arrays` gave."""
        super().set_arrays(arrays)
        own = {name.removeprefix("facts."): array for name, array in arrays.items() if name.startswith("facts.")}
        self.facts_ = ItemFacts(**own)

    def write_learned(self, folder: Path) -> None:
        """As `Combined` has it, and the trees as LightGBM writes them."""
        super().write_learned(folder)
        for stage, trees in enumerate(self.trees_):
            if trees is not None:
                (folder / _TREES.format(stage=stage)).write_text(trees.model_to_string(), encoding="utf-8")

    def read_learned(self, folder: Path) -> None:
        """Read what `write_learned` wrote."""
        import lightgbm

        super().read_learned(folder)
        paths = [folder / _TREES.format(stage=stage) for stage in range(len(self.since_))]
        self.trees_ = [lightgbm.Booster(model_str=path.read_text(encoding="utf-8")) if path.is_file() else None for path in paths]
