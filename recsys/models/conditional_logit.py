"""The conditional logit model: one of a query's candidates is chosen, the likelier the higher its weighted features.

Source: McFadden, "Conditional logit analysis of qualitative choice behavior", 1974.

Shapes: Q queries, U candidates of all queries together, F features.
"""

import numpy as np


def log_likelihood(weights: np.ndarray, features: np.ndarray, offsets: np.ndarray, chosen: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean log-likelihood of the choices, and its gradient float64 [F].

    Parameters
    ----------
    weights : float64 [F]
        One a feature.
    features : float32 [U, F]
        Of every candidate, query by query.
    offsets : int64 [Q + 1]
        Where each query's candidates begin; every query has one at least.
    chosen : int64 [Q]
        The chosen candidate of each query, by its row in `features`.
    """
    scores = features @ weights.astype(np.float32)  # [U]
    begins, counts = offsets[:-1], np.diff(offsets)
    scores -= np.repeat(np.maximum.reduceat(scores, begins), counts)
    grown = np.exp(scores)
    sums = np.add.reduceat(grown, begins, dtype=np.float64)  # [Q]
    value = float(np.mean(scores[chosen] - np.log(sums)))
    grown /= np.repeat(sums, counts)
    expected = grown @ features  # [F]
    return value, (features[chosen].sum(0, dtype=np.float64) - expected) / len(chosen)


def fit_weights(
    features: np.ndarray, offsets: np.ndarray, chosen: np.ndarray, prior: np.ndarray, penalty: float, steps: int = 200
) -> np.ndarray:
    """The weights of the highest likelihood: float64 [F].

    Parameters
    ----------
    features, offsets, chosen
        As in `log_likelihood`; features of about the same deviation.
    prior : float64 [F]
        The weights where there is nothing to learn from.
    penalty
        How many queries' likelihood a squared distance of 1 from the prior weighs up (ridge).
    steps
        Most iterations of L-BFGS.
    """
    from scipy.optimize import minimize

    share = penalty / len(chosen)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = log_likelihood(weights, features, offsets, chosen)
        apart = weights - prior
        return share * float(apart @ apart) - value, 2 * share * apart - gradient

    return minimize(loss, prior, jac=True, method="L-BFGS-B", options={"maxiter": steps}).x
