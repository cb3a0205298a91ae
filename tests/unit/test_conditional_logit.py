"""The conditional logit model, on choices whose likelihood is known."""

import numpy as np
import pytest

from recsys.models.conditional_logit import fit_weights, log_likelihood

FEATURES = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [2, -1]], np.float32)
OFFSETS = np.array([0, 2, 5])
CHOSEN = np.array([0, 3])


def slowly(weights: np.ndarray) -> float:
    value = 0.0
    for query, chosen in enumerate(CHOSEN):
        scores = FEATURES[OFFSETS[query] : OFFSETS[query + 1]].astype(float) @ weights
        value += FEATURES[chosen] @ weights - np.log(np.exp(scores).sum())
    return value / len(CHOSEN)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [0.3, -1.2], [2.0, 0.5]])
def test_likelihood_and_gradient_are_those_of_the_formula(weights: list[float]) -> None:
    at = np.array(weights)
    value, gradient = log_likelihood(at, FEATURES, OFFSETS, CHOSEN)
    assert value == pytest.approx(slowly(at), abs=1e-6)
    step = 1e-5
    expected = [(slowly(at + step * unit) - slowly(at - step * unit)) / (2 * step) for unit in np.eye(2)]
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_weight_becomes_the_logarithm_of_the_odds() -> None:
    # One of two candidates is marked; it is chosen three times of four: odds of 3.
    features = np.tile(np.array([[1], [0]], np.float32), (400, 1))
    chosen = np.arange(400) * 2 + (np.arange(400) % 4 == 0)
    found = fit_weights(features, np.arange(401) * 2, chosen, np.zeros(1), penalty=1e-6)
    assert found[0] == pytest.approx(np.log(3), abs=1e-3)


def test_strong_penalty_keeps_the_prior() -> None:
    found = fit_weights(FEATURES, OFFSETS, CHOSEN, np.array([0.7, -0.2]), penalty=1e6)
    np.testing.assert_allclose(found, [0.7, -0.2], atol=1e-3)
