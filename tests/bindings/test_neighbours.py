"""The extension's session-kNN against a slow one that is easy to read, and what it refuses."""

import ast
import doctest
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rust_sessionizer as rs
from recsys.models.scores import EXCLUDED, rank_scores, top_k
from recsys.sessions.table import Sessions
from rust_sessionizer.neighbours import Index, IndexFileError, Parameters
from tests.neighbours_reference import DEFAULTS, scores

CASES = int(os.environ.get("NEIGHBOURS_CASES", "60"))
N_ITEMS = 7


def lists(sessions: Sessions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return sessions.items, sessions.offsets[:-1], sessions.offsets[1:]


def build(sessions: list[list[int]], starts: list[int] | None = None, *, n_items: int = N_ITEMS, most: int = 0, threads: int = 1) -> Index:
    table = Sessions.from_lists(sessions)
    times = None if starts is None else np.array(starts, dtype=np.int64)
    return Index.build(table.items, table.offsets, n_items=n_items, starts=times, sessions_per_item=most, threads=threads)


session = st.lists(st.integers(0, N_ITEMS - 1), max_size=6)
decay = st.sampled_from(["none", "length", "linear", "harmonic", "exponential"])
scale = st.floats(0.5, 4)
power = st.sampled_from([0.0, 0.5, 1.0, 1.7])
factor = st.sampled_from([0.0, 0.25, 1.0, 2.0])
parameters = st.fixed_dictionaries(
    {
        "max_length": st.integers(1, 5),
        "sample": st.integers(0, 6),
        "neighbours": st.integers(1, 6),
        "query_decay": decay,
        "query_scale": scale,
        "idf_similarity": power,
        "length_norm": power,
        "recency": st.sampled_from([0, 2_500, 10_000_000]),
        "sharpness": power,
        "anchor": st.sampled_from(["last", "all"]),
        "anchor_decay": decay,
        "anchor_scale": scale,
        "distance_decay": decay,
        "distance_scale": scale,
        "reach": st.integers(0, 3),
        "before": factor,
        "same": factor,
        "repeats": st.sampled_from(["best", "sum"]),
        "own": factor,
        "idf_score": power,
        "expand": st.sampled_from([0, 0, 1, 3]),
        "expand_weight": factor,
    }
)


@settings(deadline=None, max_examples=CASES)
@given(
    sessions=st.lists(session, max_size=12),
    queries=st.lists(st.lists(st.integers(-1, N_ITEMS - 1), max_size=8), min_size=1, max_size=4),
    pauses=st.lists(st.integers(0, 5_000), min_size=12, max_size=12),
    most=st.integers(0, 4),
    given=parameters,
    threads=st.integers(1, 3),
)
def test_scores_are_those_of_the_slow_form(
    sessions: list[list[int]], queries: list[list[int]], pauses: list[int], most: int, given: dict[str, Any], threads: int
) -> None:
    starts = (1_500_000_000_123 + np.cumsum(pauses)[: len(sessions)]).tolist()
    index = build(sessions, starts, most=most, threads=threads)
    expected = np.array([scores(sessions, starts, N_ITEMS, most, query, **given) for query in queries], dtype=np.float32)
    asked, chosen = Sessions.from_lists(queries), Parameters(**given)
    found = index.score_all(lists(asked), chosen, threads=threads)
    np.testing.assert_allclose(found, expected, rtol=1e-6)

    # What is derived from the scores is that of the scores, ties and all.
    every = np.tile(np.arange(-1, N_ITEMS, dtype=np.int32), (len(queries), 1))
    own = index.score(lists(asked), every, chosen, threads=threads)
    np.testing.assert_array_equal(own, np.concatenate([np.full((len(queries), 1), -np.inf), found], axis=1))
    without = Sessions.from_lists([query[::2] for query in queries])
    known = Sessions.from_lists([[item for item in query[::2] if item >= 0] for query in queries])
    only = np.array([5, 0, 2, 3, 0], dtype=np.int32)
    for candidates in (None, only):
        best = index.recommend(lists(asked), 4, chosen, exclude=lists(without), candidates=candidates, threads=threads)
        for ours, theirs in zip(best, top_k(found, 4, candidates, known), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@settings(deadline=None, max_examples=CASES)
@given(sessions=st.lists(session, max_size=12), asked=st.lists(session, min_size=1, max_size=8), given=parameters, exclude=st.booleans())
def test_ranks_and_lists_are_those_of_the_scores(sessions: list[list[int]], asked: list[list[int]], given: dict[str, Any], exclude: bool):
    index, chosen = build(sessions), Parameters(**given | {"recency": 0})
    table = Sessions.from_lists(asked)
    positions = table.targets()
    queries = table.items, table.offsets[positions.session], positions.click
    found = index.rank(queries, positions.target, chosen, length=5, exclude=queries if exclude else None, threads=2)
    ranks, best = rank_scores([index.score_all(queries, chosen)], table, positions, 5, exclude)
    np.testing.assert_array_equal(found.ranks, ranks)
    np.testing.assert_array_equal(found.items, best)
    assert (found.ranks.dtype, found.items.dtype) == (np.int64, np.int32)


def large() -> tuple[Index, Sessions]:
    random = np.random.default_rng(3)
    sessions = Sessions.from_lists([(300 * random.random(length) ** 2).astype(int) for length in random.integers(0, 12, 3_000)])
    index = Index.build(sessions.items, sessions.offsets, n_items=300, starts=np.arange(3_000) * 60_000, threads=2)
    return index, sessions


def test_neither_threads_nor_batches_show() -> None:
    index, sessions = large()
    chosen = Parameters(recency=10_000_000, anchor="all", anchor_decay="harmonic", idf_score=0.7, sharpness=1.5, neighbours=60)
    queries = lists(sessions)
    alone = index.recommend(queries, 20, chosen)
    for threads in (2, 3, 16):
        for ours, theirs in zip(index.recommend(queries, 20, chosen, threads=threads), alone, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for query in range(0, 3_000, 601):
        one = index.recommend((sessions.items, *(offsets[query : query + 1] for offsets in queries[1:])), 20, chosen)
        np.testing.assert_array_equal(one[0][0], alone[0][query])
        np.testing.assert_array_equal(one[1][0], alone[1][query])
    in_parts = Index.build(sessions.items, sessions.offsets, n_items=300, starts=np.arange(3_000) * 60_000, threads=7)
    np.testing.assert_array_equal(in_parts.score_all(queries, chosen), index.score_all(queries, chosen, threads=2))


# --- By hand ----------------------------------------------------------------------------------------------------------

PLAIN = {"query_decay": "none", "idf_similarity": 0, "length_norm": 0, "distance_decay": "none", "before": 1, "same": 0}


def of(index: Index, query: list[int], **given: Any) -> list[float]:
    return index.score_all(lists(Sessions.from_lists([query])), Parameters(**PLAIN | given))[0].round(6).tolist()


def test_sessions_that_share_more_vote_more() -> None:
    index = build([[0, 1, 2], [1, 3]], n_items=5)
    # The first shares both items and votes around the last shared one, 1; the second shares one.
    assert of(index, [0, 1]) == [2, pytest.approx(-1 / 3, abs=1e-6), 2, 1, -1]


def test_what_follows_and_what_precedes_weigh_as_asked() -> None:
    index = build([[3, 0, 1, 2]], n_items=4)
    found = of(index, [0], distance_decay="harmonic", distance_scale=1, before=0.5, same=0.25)
    assert found == [0.25, 0.5, pytest.approx(1 / 3, abs=1e-6), 0.25]


def test_of_equally_similar_sessions_the_later_in_the_table_is_the_neighbour() -> None:
    index = build([[0, 1], [0, 2], [0, 3]], [5_000, 5_000, 5_000], n_items=4)
    assert of(index, [0], neighbours=1) == [-0.25, -0.5, -0.5, 1]
    assert of(index, [0], sample=2) == [-0.25, -0.5, 1, 1]
    assert of(build([[0, 1], [0, 2], [0, 3]], n_items=4, most=1), [0]) == [-0.25, -0.5, -0.5, 1]


def test_second_round_reaches_what_shares_nothing_with_the_query() -> None:
    index = build([[0, 1], [1, 2]], n_items=4)
    assert of(index, [0])[2] < 0
    # The best item, 1, votes for 0 and 2; both rounds have the same highest score.
    assert of(index, [0], expand=1, expand_weight=0.25) == [0.25, 1, 0.25, -1]


def test_session_a_scale_older_counts_one_eth() -> None:
    index = build([[0, 1], [0, 2]], [0, 60_000], n_items=3)
    assert of(index, [0], recency=60_000)[1:] == [pytest.approx(np.exp(-1), abs=1e-6), 1]


def test_unknown_item_is_skipped_and_an_empty_query_gets_the_popular_ones() -> None:
    index = build([[0, 1], [1, 2]], n_items=3)
    assert of(index, [-1, 0, -1]) == of(index, [0])
    for query in ([], [-1]):
        items, found = index.recommend(lists(Sessions.from_lists([query])), 3, Parameters())
        assert items.tolist() == [[1, 0, 2]]
        assert found.tolist() == [[np.float32(-1 / 3), -0.5, -0.5]]


def test_target_that_nobody_votes_for_ranks_behind_all_others_by_its_clicks() -> None:
    index = build([[0, 1], [2, 3], [2, 4]], n_items=6)
    queries = (np.zeros(1, np.int32), np.zeros(6, np.int64), np.ones(6, np.int64))
    found = index.rank(queries, np.arange(6, dtype=np.int32), Parameters(**PLAIN | {"same": 0.5}))
    assert found.ranks.tolist() == [2, 1, 3, 5, 5, 6]
    left_out = index.rank(queries, np.arange(6, dtype=np.int32), Parameters(**PLAIN), exclude=queries)
    assert left_out.ranks.tolist() == [EXCLUDED, 1, 2, 4, 4, 5]


def test_the_stub_tells_the_truth() -> None:
    stub = Path(__file__).parents[2] / "rust_sessionizer" / "python" / "rust_sessionizer" / "neighbours.pyi"
    examples = doctest.DocTestParser().get_doctest(ast.get_docstring(ast.parse(stub.read_text())), {}, "neighbours.pyi", str(stub), 0)
    found = doctest.DocTestRunner().run(examples)
    assert found.attempted > 5
    assert found.failed == 0


# --- Files ------------------------------------------------------------------------------------------------------------


def test_index_is_read_back_as_it_was(tmp_path: Path) -> None:
    index, sessions = large()
    index.save(tmp_path / "sessions.knn")
    assert [path.name for path in tmp_path.iterdir()] == ["sessions.knn"]
    read = Index.open(tmp_path / "sessions.knn")
    assert (read.n_items, read.n_sessions, read.n_clicks, read.has_times) == (300, 3_000, len(sessions.items), True)
    assert read.nbytes == (tmp_path / "sessions.knn").stat().st_size == index.nbytes
    chosen = Parameters(recency=10_000_000)
    np.testing.assert_array_equal(read.score_all(lists(sessions), chosen), index.score_all(lists(sessions), chosen))
    index.save(tmp_path / "sessions.knn")  # while the other is open
    assert read.recommend(lists(sessions), 1, chosen)[0].shape == (3_000, 1)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[:-4], "has 260 bytes where its header announces"),
        (lambda data: data[:20], "has 20 bytes, fewer than an index begins with"),
        (lambda data: b"", "has 0 bytes"),
        (lambda data: data + b"\0\0\0\0", "bytes where its header announces"),
        (lambda data: b"PAR1" + data[4:], "is no index of sessions"),
        (lambda data: data[:12] + b"\x09" + data[13:], "has the format 9; this version reads 1"),
        (lambda data: data[:8] + data[8:12][::-1] + data[12:], "the other order of bytes"),
        (lambda data: data[:70] + bytes([data[70] ^ 1]) + data[71:], "its checksum is not the header's"),
        (lambda data: data[:32] + bytes([data[32] ^ 1]) + data[33:], "its checksum is not the header's"),
    ],
)
def test_damaged_file_is_refused(tmp_path: Path, damage: Any, told: str) -> None:
    path = tmp_path / "sessions.knn"
    build([[0, 1], [1, 2, 3], [1, 4]], [0, 1, 2]).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(IndexFileError, match=told) as error:
        Index.open(path)
    assert str(error.value).startswith(str(path))


def test_file_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be read: No such file"):
        Index.open(tmp_path / "none.knn")
    with pytest.raises(OSError, match="cannot be written: No such file"):
        build([[0, 1]]).save(tmp_path / "none" / "sessions.knn")


# --- What is refused --------------------------------------------------------------------------------------------------

TWO = np.array([0, 1], np.int32)
CUTS = np.array([0, 2])


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"items": np.array([0, 7], np.int32)}, rs.ColumnError, "'items' holds the item 7 at 1"),
        ({"items": np.array([0, -1], np.int32)}, rs.ColumnError, "'items' holds the item -1 at 1"),
        ({"items": np.array([0, 1])}, rs.ColumnError, "'items' must be a NumPy array of int32"),
        ({"offsets": np.array([], np.int64)}, rs.ColumnError, "'offsets' has 0 entries"),
        ({"offsets": np.array([0, 2, 1, 2])}, rs.ColumnError, "session 1 holds the clicks 2 to 1"),
        ({"offsets": np.array([0, 3])}, rs.ColumnError, "session 0 holds the clicks 0 to 3 of an array of 2"),
        ({"offsets": np.array([1, 2])}, rs.ColumnError, "session 0 holds the clicks 1 to 2 of an array of 2"),
        ({"starts": np.array([1, 2])}, rs.ColumnError, "'starts' has 2 entries where 1 are needed"),
        ({"offsets": np.array([0, 1, 2]), "starts": np.array([2, 1])}, rs.ColumnError, "session 1 starts before"),
        ({"offsets": np.array([0, 1, 2]), "starts": np.array([0, 2**43])}, rs.SizeError, "seconds between the first session and the last"),
        ({"n_items": 2**31}, rs.SizeError, "there are 2147483648 items"),
        ({"threads": 0}, rs.SettingError, "threads is 0"),
    ],
)
def test_what_cannot_be_indexed_is_refused(change: dict[str, Any], error: type[Exception], told: str) -> None:
    given: dict[str, Any] = {"items": TWO, "offsets": CUTS, "n_items": N_ITEMS, "threads": 2} | change
    with pytest.raises(error, match=told):
        Index.build(given.pop("items"), given.pop("offsets"), **given)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"expand": 65}, "expand is 65; it must be a number from 0 to 64"),
        ({"expand_weight": -1.0}, "expand_weight is -1"),
        ({"max_length": 0}, "max_length is 0; it must be a number from 1 to 64"),
        ({"max_length": 65}, "max_length is 65"),
        ({"neighbours": 0}, "neighbours is 0"),
        ({"query_decay": "cubic"}, "query_decay is 'cubic'; it must be none, length, linear, harmonic or exponential"),
        ({"distance_decay": "linear", "distance_scale": 0.0}, "distance_decay is 'linear' with the scale 0"),
        ({"anchor_decay": "harmonic", "anchor_scale": float("nan")}, "anchor_decay is 'harmonic' with the scale NaN"),
        ({"anchor": "first"}, "anchor is 'first'; it must be last or all"),
        ({"repeats": "none"}, "repeats is 'none'; it must be best or sum"),
        ({"recency": -1}, "recency is -1"),
        ({"before": -0.5}, "before is -0.5; it must be a number from 0"),
        ({"sharpness": float("nan")}, "sharpness is NaN"),
        ({"idf_score": 5.0}, "idf_score is 5"),
    ],
)
def test_parameters_out_of_range_are_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(rs.SettingError, match=told):
        Parameters(**change)


def test_defaults_are_those_of_the_slow_form() -> None:
    index, sessions = large()
    np.testing.assert_array_equal(index.score_all(lists(sessions), Parameters()), index.score_all(lists(sessions), Parameters(**DEFAULTS)))


@pytest.mark.parametrize(
    ("ask", "error", "told"),
    [
        (lambda index, q: index.recommend(q, 0, Parameters()), rs.SettingError, "k is 0; it must be a number from 1 to the 7 items"),
        (lambda index, q: index.recommend(q, 8, Parameters()), rs.SettingError, "k is 8"),
        (lambda index, q: index.recommend(q, 1, Parameters(recency=1)), rs.SettingError, "recency is 1; .* without the sessions' starts"),
        (lambda index, q: index.recommend((q[0] + 6, *q[1:]), 1, Parameters()), rs.ColumnError, "'items' holds the item 7 at 1"),
        (lambda index, q: index.recommend((q[0], q[1], q[2] + 1), 1, Parameters()), rs.ColumnError, "query 0 holds the clicks 0 to 3"),
        (lambda index, q: index.recommend((q[0], q[1], q[2][:0]), 1, Parameters()), rs.ColumnError, "'ends' has 0 entries"),
        (lambda index, q: index.recommend(q, 1, Parameters(), candidates=np.array([9], np.int32)), rs.ColumnError, "'candidates' holds"),
        (lambda index, q: index.recommend(q, 1, Parameters(), exclude=(q[0], q[1][:0], q[2][:0])), rs.ColumnError, "'exclude' has 0"),
        (lambda index, q: index.rank(q, np.array([-1], np.int32), Parameters()), rs.ColumnError, "'targets' holds the item -1"),
        (lambda index, q: index.rank(q, TWO, Parameters()), rs.ColumnError, "'targets' has 2 entries where 1"),
        (lambda index, q: index.score(q, np.zeros((2, 1), np.int32), Parameters()), rs.ColumnError, "'candidates' has 2 entries where 1"),
        (lambda index, q: index.score(q, np.full((1, 1), -2, np.int32), Parameters()), rs.ColumnError, "the item -2 .* or -1 for none"),
        (lambda index, q: index.score_all(q, Parameters(), threads=0), rs.SettingError, "threads is 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(ask: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        ask(build([[0, 1]]), (TWO, CUTS[:1], CUTS[1:]))


def test_other_threads_run_meanwhile(others_run: Callable[[Callable[[], object]], bool]) -> None:
    index, sessions = large()
    assert others_run(lambda: index.recommend(lists(sessions), 20, Parameters()))
