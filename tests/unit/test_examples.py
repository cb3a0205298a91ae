"""The examples that the published figures are of say all that the figures depend on."""

from pathlib import Path

import pytest
import yaml

from benchmarks.accuracy import KNN, LOGS
from recsys.settings.session_knn import SessionKNNParameters

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("log", LOGS)
def test_session_knn_is_that_of_the_comparison_whatever_the_defaults_are(log):
    runs = yaml.safe_load((ROOT / "examples" / f"{log}.yaml").read_text())["runs"]
    assert runs["session-knn"]["parameters"] == KNN[log]
    assert set(KNN[log]) == set(SessionKNNParameters.model_fields)
