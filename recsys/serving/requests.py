"""What a request may hold, and one sentence for everything it may not; no sentence repeats what was sent."""

from dataclasses import dataclass
from typing import Any

import orjson

from recsys.serving.recommender import DEFAULT_K, LARGEST_EXACT, LARGEST_K
from recsys.serving.rules import PLAIN, Rules

FORMS = ("dataframe_records", "dataframe_split", "inputs")
COLUMNS = ("session", "visitor", "events", "times")
PARAMETERS = ("k", "exclude", "categories", "available", "diversity")
MOST_EXCLUDED = 10_000
"""Most items that a request may leave out."""
MOST_CATEGORIES = 1_000
MOST_DESCRIBED = 4 * LARGEST_K
"""Most items whose names can be asked for at once."""
LONGEST_KEY = 200
"""Characters of a kept session's id."""

_OTHER_FORMS = ("instances",)
"""MLflow's, which its own parser reads."""

_ID_NAMES = {"integer": "whole numbers", "string": "strings", "hash": "strings or whole numbers"}
_SCALARS = {int, str}
_NONE: dict[str, Any] = {}


class OtherForm(Exception):
    """A request in a form that MLflow's own parser reads."""


class BadRequest(Exception):
    """A request that is refused.

    Attributes
    ----------
    status
        HTTP status, 400 to 499.
    error_code
        MLflow's name for the kind of error.
    sentence
        What is wrong and what would be right.
    headers
        More headers of the answer.
    """

    def __init__(
        self,
        sentence: str,
        status: int = 400,
        error_code: str = "INVALID_PARAMETER_VALUE",
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(sentence)
        self.sentence, self.status, self.error_code, self.headers = sentence, status, error_code, headers


@dataclass(frozen=True)
class Request:
    """Sessions of item ids, how many items are asked for, and what is asked of the answers."""

    sessions: list[list]
    k: int
    rules: Rules = PLAIN


@dataclass(frozen=True)
class Click:
    """The next click of a session.

    Attributes
    ----------
    item
        The item's id.
    session
        The clicks before, for a server that does not know them any more; None where they were not sent.
    k, rules
        As of a `Request`.
    """

    item: Any
    session: list | None
    k: int
    rules: Rules = PLAIN


def check_content_type(content_type: str | None, content_encoding: str | None = None) -> None:
    """Accept JSON in UTF-8, not compressed.

    Raises
    ------
    BadRequest
        415 otherwise.
    OtherForm
        If it is CSV.
    """
    media_type, _, parameters = (content_type or "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media_type.strip().lower() not in ("application/json", "text/csv") or charset not in ("", "utf-8", "utf8"):
        raise BadRequest("The content type must be application/json, in UTF-8.", 415, "UNSUPPORTED_MEDIA_TYPE")
    if content_encoding not in (None, "", "identity"):
        raise BadRequest("The body must not be compressed.", 415, "UNSUPPORTED_MEDIA_TYPE")
    if media_type.strip().lower() == "text/csv":
        raise OtherForm


def read_request(body: bytes, id_type: str, max_sessions: int) -> Request:
    """The sessions and k of a body.

    Parameters
    ----------
    body
        JSON with one of `dataframe_records`, `dataframe_split` and `inputs`, and optionally `params`.
    id_type
        The shop's item ids: `integer`, `string` or `hash`.
    max_sessions
        Most sessions a request.

    Raises
    ------
    BadRequest
        If anything in it is not as the contract has it.
    OtherForm
        If MLflow's own parser should read it.
    """
    content = _read_object(body)
    if not content.keys().isdisjoint(_OTHER_FORMS):
        raise OtherForm
    if not content.keys() <= {*FORMS, "params"}:
        raise BadRequest(f"The body has an unknown key; the keys are {', '.join(FORMS)} and params.")
    forms = [form for form in FORMS if form in content]
    if len(forms) != 1:
        raise BadRequest(f"The body must have exactly one of {', '.join(FORMS)}.")
    k, rules = _read_parameters(content.get("params", _NONE), id_type)
    columns = _READERS[forms[0]](content[forms[0]])
    sessions = columns.get("session")
    if sessions is None:
        raise BadRequest("The column session is missing.")
    if len(sessions) > max_sessions:
        raise BadRequest(f"A request may hold at most {max_sessions} sessions.", 413, "REQUEST_TOO_LARGE")
    sessions = [_read_session(session, id_type) for session in sessions]
    _check_context(columns, sessions)
    return Request(sessions, k, rules)


def read_click(body: bytes, id_type: str) -> Click:
    """The click of a body.

    Parameters
    ----------
    body
        JSON with `item`, and optionally `session`, the clicks before it, and `params`.
    id_type
        As in `read_request`.

    Raises
    ------
    BadRequest
        As in `read_request`.
    """
    content = _read_object(body)
    if not content.keys() <= {"item", "session", "params"}:
        raise BadRequest("The body has an unknown key; the keys are item, session and params.")
    if "item" not in content:
        raise BadRequest("The body lacks the key item, the id of the item that was clicked.")
    k, rules = _read_parameters(content.get("params", _NONE), id_type)
    (item,) = _read_session([content["item"]], id_type)
    session = content.get("session")
    return Click(item, None if session is None else _read_session(session, id_type), k, rules)


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("The body must be valid JSON in UTF-8.", error_code="MALFORMED_REQUEST") from None
    if type(content) is not dict:
        raise BadRequest("The body must be a JSON object.")
    return content


def _read_parameters(params: Any, id_type: str) -> tuple[int, Rules]:
    if params is _NONE:
        return DEFAULT_K, PLAIN
    if type(params) is not dict:
        raise BadRequest("params must be a JSON object.")
    if not params.keys() <= set(PARAMETERS):
        raise BadRequest(f"params has an unknown key; the keys are {', '.join(PARAMETERS)}.")
    k = params.get("k", DEFAULT_K)
    if type(k) is not int or not 1 <= k <= LARGEST_K:
        raise BadRequest(f"params.k must be a whole number from 1 to {LARGEST_K}.")
    return k, PLAIN if params.keys() <= {"k"} else _read_rules(params, id_type)


def _read_rules(params: dict[str, Any], id_type: str) -> Rules:
    exclude, categories = params.get("exclude"), params.get("categories")
    if exclude is None:
        exclude = []
    if type(exclude) is not list or len(exclude) > MOST_EXCLUDED:
        raise BadRequest(f"params.exclude must be a list of at most {MOST_EXCLUDED} item ids.")
    exclude = _read_session(exclude, id_type)
    if categories is not None:
        if type(categories) is not list or not set(map(type, categories)) <= _SCALARS or len(categories) > MOST_CATEGORIES:
            raise BadRequest(f"params.categories must be a list of at most {MOST_CATEGORIES} strings or whole numbers.")
        categories = tuple(map(str, categories))
    available, diversity = params.get("available", True), params.get("diversity")
    if type(available) is not bool:
        raise BadRequest("params.available must be true or false.")
    if diversity is not None and (type(diversity) not in (int, float) or not 0 <= diversity <= 1):
        raise BadRequest("params.diversity must be a number from 0 to 1.")
    return Rules(tuple(exclude), categories, available, diversity)


def _from_records(records: Any) -> dict[str, list]:
    if type(records) is not list or any(type(record) is not dict for record in records):
        raise BadRequest("The rows must be a list of JSON objects.")
    names: set[str] = set().union(*records)
    _check_names(names)
    columns: dict[str, list] = {name: [record.get(name) for record in records] for name in names}
    if not all("session" in record for record in records):
        raise BadRequest("A row lacks the column session.")
    columns.setdefault("session", [])
    return columns


def _from_split(table: Any) -> dict[str, list]:
    if type(table) is not dict or not {"columns", "data"} <= table.keys() <= {"columns", "data", "index"}:
        raise BadRequest("dataframe_split must be a JSON object with columns, data and optionally index.")
    names, rows = table["columns"], table["data"]
    if type(names) is not list or any(type(name) is not str for name in names) or len(set(names)) != len(names):
        raise BadRequest("dataframe_split.columns must be a list of different names.")
    _check_names(names)
    if type(rows) is not list or any(type(row) is not list or len(row) != len(names) for row in rows):
        raise BadRequest("dataframe_split.data must be a list of rows, each with a value for every column.")
    return {name: [row[position] for row in rows] for position, name in enumerate(names)}


def _from_inputs(inputs: Any) -> dict[str, list]:
    if type(inputs) is not dict:
        return _from_records(inputs)
    _check_names(inputs)
    if any(type(column) is not list for column in inputs.values()) or len({len(column) for column in inputs.values()}) > 1:
        raise BadRequest("The columns of inputs must be lists of the same length.")
    return inputs


_READERS = {"dataframe_records": _from_records, "dataframe_split": _from_split, "inputs": _from_inputs}


def _check_names(names: Any) -> None:
    if not set(names) <= set(COLUMNS):
        raise BadRequest(f"There is an unknown column; the columns are {', '.join(COLUMNS)}.")


def _read_session(session: Any, id_type: str) -> list:
    if type(session) is not list:
        raise BadRequest("Each session must be a list of item ids.")
    kinds = set(map(type, session))
    if id_type == "integer":
        if kinds == {int} or not kinds:
            return session
        if kinds <= {int, float}:
            return [_whole(item) if type(item) is float else item for item in session]
    elif kinds <= ({str} if id_type == "string" else {str, int}):
        return session
    raise BadRequest(f"The item ids of this shop are {_ID_NAMES[id_type]}; a session holds something else.")


def _whole(number: float) -> int:
    if not number.is_integer() or abs(number) > LARGEST_EXACT:
        raise BadRequest("The item ids of this shop are whole numbers; a session holds a number that is none, or too large to be exact.")
    return int(number)


def _check_context(columns: dict[str, list], sessions: list[list]) -> None:
    """The optional columns, which may be null, do not change the answer of the present families, but must make sense."""
    for visitor in columns.get("visitor", ()):
        if visitor is not None and type(visitor) not in _SCALARS:
            raise BadRequest("Each visitor must be a string or a whole number.")
    for name, kinds in (("events", _SCALARS), ("times", _SCALARS)):
        for values, session in zip(columns.get(name, ()), sessions, strict=False):
            if values is None:
                continue
            if type(values) is not list or len(values) != len(session) or not set(map(type, values)) <= kinds:
                raise BadRequest(f"Each entry of {name} must be a list of strings or whole numbers, one for each item of the session.")
