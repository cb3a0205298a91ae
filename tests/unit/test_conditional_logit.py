"""The conditional logit model, where its answer is known."""

import numpy as np
import pytest

from recsys.models.conditional_logit import fit_weights, log_likelihood


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [U, 3] in float64, offsets and choices of 20 queries."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(random.integers(1, 6, 20))])
    return random.normal(size=(offsets[-1], 3)), offsets, offsets[:-1] + random.integers(0, np.diff(offsets))


def test_likelihood_is_that_of_a_softmax_a_query() -> None:
    features, offsets, chosen = problem()
    weights = np.array([0.5, -2.0, 1.0])
    expected = []
    for begin, end, choice in zip(offsets[:-1], offsets[1:], chosen, strict=True):
        grown = np.exp(features[begin:end] @ weights)
        expected.append(np.log(grown[choice - begin] / grown.sum()))
    assert log_likelihood(weights, features, offsets, chosen)[0] == pytest.approx(np.mean(expected), rel=1e-9)


def test_gradient_is_that_of_small_steps() -> None:
    features, offsets, chosen = problem()
    weights, step = np.array([0.5, -2.0, 1.0]), 2.0**-10  # exact in float32, which weights are taken as
    _, gradient = log_likelihood(weights, features, offsets, chosen)
    for place in range(3):
        there = np.eye(3)[place] * step
        up, down = (log_likelihood(weights + sign * there, features, offsets, chosen)[0] for sign in (1, -1))
        assert gradient[place] == pytest.approx((up - down) / (2 * step), abs=1e-6)


def test_scores_of_any_size_are_told_apart() -> None:
    features = np.array([[1000.0], [0.0], [-1000.0]], np.float32)
    value, gradient = log_likelihood(np.array([1.0]), features, np.array([0, 3]), np.array([0]))
    assert (value, gradient.tolist()) == (0.0, [0.0])


def test_odds_are_the_choices_own() -> None:
    # Two candidates, one of which has the feature and is chosen three times of four: the odds are 3, the weight log 3.
    features = np.tile([[1.0], [0.0]], (4, 1)).astype(np.float32)
    weights = fit_weights(features, np.arange(0, 9, 2), np.array([0, 2, 4, 7]), np.zeros(1), penalty=1e-9)
    assert weights[0] == pytest.approx(np.log(3), abs=1e-3)


def test_weights_stay_at_the_prior_where_nothing_is_told() -> None:
    features = np.ones((6, 2), np.float32)  # the candidates are alike
    prior = np.array([0.7, -0.2])
    np.testing.assert_allclose(fit_weights(features, np.array([0, 3, 6]), np.array([1, 3]), prior, penalty=5.0), prior, atol=1e-6)


def test_penalty_weighs_as_so_many_queries() -> None:
    # At the optimum of a weight w from the prior 0: n * (share chosen - p(w)) = 2 * penalty * w.
    features = np.tile([[1.0], [0.0]], (10, 1)).astype(np.float32)
    offsets, chosen = np.arange(0, 21, 2), np.arange(0, 20, 2)
    found = [fit_weights(features, offsets, chosen, np.zeros(1), penalty)[0] for penalty in (0.1, 1.0, 10.0)]
    for weight, penalty in zip(found, (0.1, 1.0, 10.0), strict=True):
        assert 10 * (1 - 1 / (1 + np.exp(-weight))) == pytest.approx(2 * penalty * weight, abs=1e-2)
    assert found[0] > found[1] > found[2] > 0
    # Twice the queries under twice the penalty end where they did.
    twice = fit_weights(np.tile(features, (2, 1)), np.arange(0, 41, 2), np.arange(0, 40, 2), np.zeros(1), 2.0)[0]
    assert twice == pytest.approx(found[1], abs=1e-3)


def test_the_fitted_weights_are_likelier_than_those_beside_them() -> None:
    features, offsets, chosen = problem(seed=3)
    prior, penalty = np.array([0.3, 0.0, -0.3]), 2.0

    def loss(weights: np.ndarray) -> float:
        return penalty / len(chosen) * ((weights - prior) ** 2).sum() - log_likelihood(weights, features, offsets, chosen)[0]

    found = fit_weights(features, offsets, chosen, prior, penalty)
    random = np.random.default_rng(1)
    assert all(loss(found) < loss(found + 0.05 * random.normal(size=3)) for _ in range(20))
