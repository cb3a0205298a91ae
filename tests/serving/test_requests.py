import json

import pytest

from recsys.serving.requests import BadRequest, OtherForm, check_content_type, read_click, read_request
from recsys.serving.rules import PLAIN, Rules


def read(content, id_type: str = "integer", max_sessions: int = 10):
    return read_request(content if isinstance(content, bytes) else json.dumps(content).encode(), id_type, max_sessions)


@pytest.mark.parametrize(
    "content",
    [
        {"dataframe_records": [{"session": [1, 2]}, {"session": []}]},
        {"dataframe_split": {"columns": ["session"], "data": [[[1, 2]], [[]]]}},
        {"dataframe_split": {"index": [0, 1], "columns": ["visitor", "session"], "data": [["a", [1, 2]], [None, []]]}},
        {"inputs": [{"session": [1, 2]}, {"session": []}]},
        {"inputs": {"session": [[1, 2], []]}},
        {"dataframe_records": [{"session": [1.0, 2]}, {"session": [], "visitor": 7, "events": [], "times": None}]},
    ],
)
def test_every_form_gives_the_sessions(content: dict) -> None:
    request = read(content)
    assert request.sessions == [[1, 2], []]
    assert all(type(item) is int for session in request.sessions for item in session)
    assert request.k == 20


def test_a_request_for_no_session_is_answered_with_none() -> None:
    assert read({"dataframe_records": []}).sessions == []


def test_k_is_read() -> None:
    assert read({"inputs": [], "params": {"k": 100}}).k == 100


@pytest.mark.parametrize(
    ("id_type", "session", "accepted"),
    [
        ("integer", [1, -5, 2**63], True),
        ("integer", ["12"], False),
        ("integer", [2.0**60], False),  # as a double it stands for many integers
        ("string", ["12", ""], True),
        ("string", [12], False),
        ("hash", ["9007199254740993", 9007199254740993], True),
        ("hash", [9.0], False),
        ("hash", [True], False),
    ],
)
def test_ids_are_of_the_shops_own_type(id_type: str, session: list, accepted: bool) -> None:
    content = {"dataframe_records": [{"session": session}]}
    if accepted:
        assert read(content, id_type).sessions == [session]
    else:
        with pytest.raises(BadRequest, match="item ids of this shop"):
            read(content, id_type)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"{", "valid JSON"),
        (b"\xff", "valid JSON"),
        (b'{"inputs": [{"session": [NaN]}]}', "valid JSON"),
        (b"[" * 50_000 + b"]" * 50_000, "valid JSON"),
        ([], "JSON object"),
        ({}, "exactly one of"),
        ({"inputs": [], "dataframe_records": []}, "exactly one of"),
        ({"inputs": [], "secret-key": 1}, "unknown key"),
        ({"inputs": 3}, "list of JSON objects"),
        ({"inputs": {"session": 3}}, "lists of the same length"),
        ({"inputs": {"visitor": ["a"]}}, "session is missing"),
        ({"inputs": [{"session": [1]}, {}]}, "lacks the column session"),
        ({"inputs": [{"session": [1], "secret-column": 1}]}, "unknown column"),
        ({"dataframe_split": {"columns": ["session", "session"], "data": []}}, "different names"),
        ({"dataframe_split": {"columns": ["session"], "data": [[]]}}, "a value for every column"),
        ({"dataframe_split": {"columns": ["visitor"], "data": []}}, "session is missing"),
        ({"inputs": [{"session": [1], "visitor": [1]}]}, "visitor"),
        ({"inputs": [{"session": [1], "times": [1, 2]}]}, "times"),
        ({"inputs": [{"session": [1], "events": [None]}]}, "events"),
        ({"inputs": [], "params": {"k": True}}, r"params\.k"),
        ({"inputs": [], "params": {"k": 20.0}}, r"params\.k"),
        ({"inputs": [], "params": {"secret-parameter": 1}}, "unknown key"),
        ({"inputs": [], "params": None}, "params must be"),
        ({"inputs": [{"session": []}] * 11}, "at most 10 sessions"),
    ],
)
def test_what_the_contract_does_not_allow_is_refused_in_a_sentence_that_repeats_nothing(content, match: str) -> None:
    with pytest.raises(BadRequest, match=match) as refused:
        read(content)
    assert 400 <= refused.value.status < 500
    assert refused.value.sentence.endswith(".")
    assert "secret" not in refused.value.sentence


@pytest.mark.parametrize("good", ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'])
def test_json_is_accepted_however_it_is_spelled(good: str) -> None:
    check_content_type(good)


@pytest.mark.parametrize(
    ("bad", "encoding"),
    [(None, None), ("text/plain", None), ("text/csv", "gzip"), ("application/json; charset=latin-1", None), ("application/json", "gzip")],
)
def test_other_content_types_are_refused(bad: str | None, encoding: str | None) -> None:
    with pytest.raises(BadRequest) as refused:
        check_content_type(bad, encoding)
    assert refused.value.status == 415


def test_other_forms_are_left_to_mlflows_parser() -> None:
    with pytest.raises(OtherForm):
        check_content_type("text/csv; charset=utf-8")
    with pytest.raises(OtherForm):
        read_request(b'{"instances": [{"session": [1]}]}', "integer", 10)


def test_what_is_asked_of_the_answers_is_read() -> None:
    params = {"k": 3, "exclude": [1, 2.0], "categories": ["a", 7], "available": False, "diversity": 1}
    request = read_request(json.dumps({"inputs": [{"session": [1]}], "params": params}).encode(), "integer", 10)
    assert (request.k, request.rules) == (3, Rules((1, 2), ("a", "7"), False, 1))
    plain = read_request(b'{"inputs": [{"session": [1]}], "params": {"k": 3}}', "integer", 10)
    assert plain.rules is PLAIN


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"exclude": 7}, "params.exclude must be a list"),
        ({"exclude": ["x"]}, "whole numbers"),
        ({"exclude": [1] * 10_001}, "at most 10000"),
        ({"categories": "a"}, "params.categories must be a list"),
        ({"categories": [None]}, "params.categories must be a list"),
        ({"available": 1}, "params.available must be true or false"),
        ({"diversity": -0.1}, "params.diversity must be a number from 0 to 1"),
        ({"diversity": True}, "params.diversity must be a number from 0 to 1"),
        ({"diverse": 1}, "params has an unknown key; the keys are k, exclude, categories, available, diversity"),
    ],
)
def test_rules_that_make_no_sense_are_refused(params: dict, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        read_request(json.dumps({"inputs": [{"session": [1]}], "params": params}).encode(), "integer", 10)


def test_a_click_is_read() -> None:
    click = read_click(b'{"item": 7, "session": [1, 2], "params": {"k": 2}}', "integer")
    assert (click.item, click.session, click.k) == (7, [1, 2], 2)
    assert read_click(b'{"item": "a"}', "string").session is None
