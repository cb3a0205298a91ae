"""A blend: a weighted sum of what its members say of the items that any of them lists, the weights learned on validation.

Sources: Wolpert, "Stacked generalization", 1992 (learning the weights on what the members have not seen); McFadden, "Conditional logit
analysis of qualitative choice behavior", 1974 (the likelihood that they maximise); Cormack et al., "Reciprocal rank fusion outperforms
Condorcet and individual rank learning methods", SIGIR 2009 (the reciprocal ranks).

Shapes: Q queries, U candidates of all queries together, M members, F features, L session lengths.
"""

from typing import ClassVar, Self

import numpy as np

from recsys.models.candidates import Candidates
from recsys.models.combined import Combined
from recsys.models.conditional_logit import fit_weights
from recsys.models.interface import Queries
from recsys.settings.blend import BlendParameters

_LENGTHS = np.array([1, 2, 3, 5, 8])
"""Clicks from which on a session has weights of its own length."""
_SPREAD = 1e-6
"""Least difference between a member's best and last score that is divided by."""
_LEAST_SHARE = 1e-2
"""Least share of that difference whose logarithm is taken."""


def said(candidates: Candidates, method: str, rank_constant: float) -> np.ndarray:
    """What the members say of each candidate: float32 [U, F], member by member.

    Of ranks: the reciprocal rank, 0 where the member does not list the item. Of scores: how far it is below the best one, as it is and as
    the logarithm of its share of the range from the last listed one to the best, so that both scores that are themselves logarithms (a
    network's) and scores that are sums (neighbours') can be made likelihoods.
    """
    features = []
    for member in range(candidates.scores.shape[1]):
        ranks, scores = candidates.ranks[:, member], candidates.scores[:, member]
        if method != "scores":
            features.append(np.where(ranks > 0, rank_constant / (rank_constant + ranks), 0))
        if method != "reciprocal_rank":
            best, least = candidates.over_queries(scores, np.maximum), candidates.over_queries(scores, np.minimum)
            features.append(scores - best)
            features.append(np.log(np.maximum((scores - least) / np.maximum(best - least, _SPREAD), _LEAST_SHARE)))
    return np.stack(features, axis=1).astype(np.float32, copy=False)


def _unlearned(method: str, members: int) -> np.ndarray:
    """Weights float64 [F] that let all members speak alike: their reciprocal ranks, or the logarithms of their scores' shares."""
    of_one = {"reciprocal_rank": [1], "scores": [0, 1], "stacking": [1, 0, 0]}[method]
    return np.tile(np.array(of_one, np.float64), members)


class Blend(Combined):
    """A weighted sum of what the members say.

    Attributes
    ----------
    weights_ : list of float32 [L, F]
        One a stage: a row a session length, a column a feature.
    """

    family: ClassVar[str] = "blend"
    parameters_class: ClassVar[type[BlendParameters]] = BlendParameters

    weights_: list[np.ndarray]

    def begin(self) -> None:
        """Forget every stage."""
        self.weights_ = []

    def learn(self, queries: Queries, candidates: Candidates, chosen: np.ndarray) -> None:
        """As `Combined` has it: the weights that make the choices likeliest, and from them, those of each session length."""
        equal = _unlearned(self.parameters.method, candidates.scores.shape[1])
        if not len(chosen):
            self.weights_.append(np.tile(equal.astype(np.float32), (len(_LENGTHS), 1)))
            return
        features = self._said(candidates)
        deviation = features.std(0, dtype=np.float64)
        deviation[deviation == 0] = 1
        features /= deviation.astype(np.float32)
        start, penalty = np.zeros(features.shape[1]), self.parameters.penalty
        common = fit_weights(features, candidates.offsets, chosen, start, penalty)
        weights = np.tile(common, (len(_LENGTHS), 1))
        if self.parameters.by_length:
            groups = _group(queries.lengths)
            for group in np.unique(groups):
                these = groups == group
                rows = np.repeat(these, np.diff(candidates.offsets))
                place = np.cumsum(rows) - 1
                offsets = np.concatenate([[0], np.cumsum(np.diff(candidates.offsets)[these])])
                weights[group] = fit_weights(features[rows], offsets, place[chosen[these]], common, penalty)
        self.weights_.append((weights / deviation).astype(np.float32))

    def combine(self, stage: int, queries: Queries, candidates: Candidates) -> np.ndarray:
        """As `Combined` has it."""
        weights = np.repeat(self.weights_[stage][_group(queries.lengths)], np.diff(candidates.offsets), axis=0)  # [U, F]
        return np.einsum("uf,uf->u", self._said(candidates), weights)

    def take_over(self, learned: Self) -> None:
        """As `Combined` has it."""
        self.weights_ = learned.weights_[-1:]

    def arrays(self) -> dict[str, np.ndarray]:
        """`since`; `weights` [stages, L, F]."""
        return super().arrays() | {"weights": np.stack(self.weights_)}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over what `arrays` gave."""
        super().set_arrays(arrays)
        self.weights_ = list(arrays["weights"])

    def _said(self, candidates: Candidates) -> np.ndarray:
        return said(candidates, self.parameters.method, self.parameters.rank_constant)


def _group(lengths: np.ndarray) -> np.ndarray:
    """The row of the weights for sessions of the given lengths; an empty one has those of the shortest."""
    return np.maximum(np.searchsorted(_LENGTHS, lengths, side="right") - 1, 0)
