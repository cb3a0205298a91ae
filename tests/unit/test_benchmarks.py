"""What the benchmarks say of what they measure."""

import numpy as np
import pytest

from benchmarks.neighbours import FIRST_DEFAULTS, SESSIONS_PER_ITEM, K, Plain, agrees, generated
from rust_sessionizer.neighbours import Index, Parameters


def test_the_plain_session_knn_answers_as_the_extension() -> None:
    log = generated(3_000)
    sessions = log.sessions
    index = Index.build(sessions.items, sessions.offsets, n_items=log.n_items, sessions_per_item=SESSIONS_PER_ITEM, threads=1)
    items, scores = index.recommend((log.asked.items, log.asked.offsets[:50], log.asked.offsets[1:51]), K, Parameters(**FIRST_DEFAULTS))
    plain = Plain(log)
    answers = [plain.recommend(log.asked[query]) for query in range(50)]
    assert any(len(answer) > 0 for answer in answers)
    assert all(agrees(*given) for given in zip(items, scores, answers, strict=True))


@pytest.mark.parametrize(
    ("items", "scores", "told"),
    [
        ([4, 2, 1, 0], [3, 2, 2, -0.1], True),
        ([4, 1, 2, 0], [3, 2, 2, -0.1], True),  # they tie
        ([2, 4, 1, 0], [3, 2, 2, -0.1], False),
        ([4, 2, 1, 0], [3, 2, 1, -0.1], False),
        ([4, 2, 0, 1], [3, 2, -0.1, -0.2], False),
        ([4, 2, 1, 0], [3, 2, 2, 1], False),
        ([0, 1, 2, 3], [-0.1, -0.2, -0.3, -0.4], False),
    ],
)
def test_answers_are_compared_item_by_item(items: list[int], scores: list[float], told: bool) -> None:
    answer = [(-3.0, 4), (-2.0, 1), (-2.0, 2)]
    assert agrees(np.array(items), np.array(scores, np.float32), answer) == told


def test_what_stands_beside_the_last_of_a_full_list_is_not_seen() -> None:
    scores = np.array([3, 2], np.float32)
    assert agrees(np.array([4, 9]), scores, [(-3.0, 4), (-2.0, 1)])
    assert not agrees(np.array([9, 1]), scores, [(-3.0, 4), (-2.0, 1)])
    assert agrees(np.array([0, 1]), -scores, [])
    assert not agrees(np.array([0, 1]), scores, [])
