"""The OpenAPI document of the served app."""

from typing import Any

from recsys.serving.recommender import DEFAULT_K, LARGEST_K, Recommender
from recsys.serving.requests import COLUMNS, LONGEST_KEY, MOST_CATEGORIES, MOST_DESCRIBED, MOST_EXCLUDED
from recsys.settings.serving import ServeSettings

_INTEGER = {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1}
_ITEM = {"integer": _INTEGER, "string": {"type": "string"}, "hash": {"oneOf": [{"type": "string"}, _INTEGER]}}
_SCALAR = {"oneOf": [{"type": "string"}, _INTEGER]}


def _object(properties: dict[str, Any], required: list[str], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False, **more}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _refusal(what: str) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": _reference("Refusal")}}}


def _given(schema: dict[str, Any], what: str) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}


def _text(what: str, media_type: str = "text/plain") -> dict[str, Any]:
    return {"description": what, "content": {media_type: {"schema": {"type": "string"}}}}


_REFUSALS = {
    "400": _refusal("The request is not as described."),
    "401": _refusal("The token is missing or wrong."),
    "408": _refusal("The body did not arrive in time."),
    "413": _refusal("The body or the number of sessions is too large."),
    "415": _refusal("The content type is not JSON in UTF-8."),
    "421": _refusal("The server does not answer by this Host name."),
    "500": _refusal("The server failed; its log says why."),
    "503": {
        **_refusal("More requests than can be answered; try again."),
        "headers": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}},
    },
}
_PAGES = {status: _REFUSALS[status] for status in ("401", "421", "500")}
_OPEN_PAGES = {status: _REFUSALS[status] for status in ("421", "500")}


def _schemas(recommender: Recommender, settings: ServeSettings) -> dict[str, Any]:
    item = _reference("ItemId")
    scalars = {
        "oneOf": [{"type": "array", "items": _SCALAR}, {"type": "null"}],
        "description": "As many as the session has items. The present models do not look at them.",
    }
    visitor = {"oneOf": [*_SCALAR["oneOf"], {"type": "null"}], "description": "The present models do not look at it."}
    params = {
        "k": {"type": "integer", "minimum": 1, "maximum": LARGEST_K, "default": DEFAULT_K, "description": "Items an answer."},
        "exclude": {
            "type": ["array", "null"],
            "items": item,
            "maxItems": MOST_EXCLUDED,
            "description": "Items that are left out.",
        },
        "categories": {
            "type": ["array", "null"] if recommender.has_categories else "null",
            "items": _SCALAR,
            "maxItems": MOST_CATEGORIES,
            "description": "Only items of these categories, where the package knows categories.",
        },
        "available": {"type": "boolean", "default": True, "description": "Only items on sale, where the server knows which are."},
        "diversity": {
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": 1 if recommender.can_diversify else 0,
            "description": "0 ranks by the model alone, 1 by difference alone (maximal marginal relevance).",
        },
    }
    session = {"type": "array", "items": item, "description": "Items of the session so far, oldest first."}
    cells = {"session": session, "visitor": visitor, "events": scalars, "times": scalars}
    row = _object(cells, ["session"])
    rows = {"type": "array", "items": row, "maxItems": settings.max_sessions}
    answer = {
        "recommendations": {"type": "array", "items": item, "description": "Best first."},
        "scores": {"type": "array", "items": {"type": "number"}},
        "fallback": {"enum": ["popular", None], "description": "What the answer is where it is not the model's."},
    }
    names = list(answer)
    described = {
        "id": {"type": "string"},
        "known": {"type": "boolean"},
        "name": {"type": ["string", "null"]},
        "category": {"type": ["string", "null"]},
    }
    columns = _object(
        {name: {"type": "array", "items": cell, "maxItems": settings.max_sessions} for name, cell in cells.items()},
        ["session"],
        description="A list a column, all of the same length.",
    )
    split = _object(
        {
            "columns": {
                "type": "array",
                "items": {"enum": list(COLUMNS)},
                "contains": {"const": "session"},
                "uniqueItems": True,
                "maxItems": len(COLUMNS),
            },
            "data": {
                "type": "array",
                "items": {"type": "array", "minItems": 1, "maxItems": len(COLUMNS)},
                "maxItems": settings.max_sessions,
            },
            "index": {},
        },
        ["columns", "data"],
        description="data: a list a row, with a value for each of the columns, as in a row of dataframe_records.",
    )
    return {
        "ItemId": _ITEM[recommender.id_type],
        "Params": {"type": "object", "properties": params, "additionalProperties": False},
        "Invocation": {
            "oneOf": [
                _object({"dataframe_records": rows, "params": _reference("Params")}, ["dataframe_records"]),
                _object({"dataframe_split": split, "params": _reference("Params")}, ["dataframe_split"]),
                _object({"inputs": {"oneOf": [rows, columns]}, "params": _reference("Params")}, ["inputs"]),
            ]
        },
        "Click": _object(
            {"item": item, "session": {"oneOf": [session, {"type": "null"}]}, "params": _reference("Params")},
            ["item"],
            description="session: the clicks before this one, from which the answer is found where the server keeps the session no more.",
        ),
        "Answer": _object(answer, names),
        "Predictions": _object({"predictions": {"type": "array", "items": _reference("Answer")}}, ["predictions"]),
        "Step": _object({**answer, "clicks": {"type": "integer", "minimum": 1, "description": "Clicks so far."}}, [*names, "clicks"]),
        "Refusal": _object({"error_code": {"type": "string"}, "message": {"type": "string"}}, ["error_code", "message"]),
        "Served": _object(
            {"family": {"type": "string"}, "version": {"type": "string"}, "package": {"type": "string"}, "items": {"type": "integer"}},
            ["family", "version", "package", "items"],
        ),
        "Sample": _object({"session": session}, ["session"]),
        "Items": _object({"items": {"type": "array", "items": _object(described, list(described))}}, ["items"]),
    }


def _body(name: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": _reference(name)}}}


def describe(recommender: Recommender, settings: ServeSettings, token: bool = False) -> dict[str, Any]:
    """The document, for the package that is served; `token` says whether clients must show one."""
    key = {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[^/]+$"},
    }
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Session recommender", "version": "1", "description": "Next-item recommendations for sessions of a shop."},
        "paths": {
            "/invocations": {
                "post": {
                    "summary": "Recommend items for each of several sessions.",
                    "operationId": "recommend",
                    "requestBody": _body("Invocation"),
                    "responses": {"200": _given(_reference("Predictions"), "An answer a session."), **_REFUSALS},
                }
            },
            "/sessions/{id}/clicks": {
                "post": {
                    "summary": "Tell the next click of a session, and recommend what may follow.",
                    "operationId": "click",
                    "parameters": [key],
                    "requestBody": _body("Click"),
                    "responses": {"200": _given(_reference("Step"), "The answer."), "404": _refusal("There is no such page."), **_REFUSALS},
                }
            },
            "/sessions/{id}": {
                "delete": {
                    "summary": "Forget a session.",
                    "operationId": "forget",
                    "parameters": [key],
                    "responses": {
                        "200": _given(_object({"forgotten": {"const": True}}, ["forgotten"]), "It is forgotten."),
                        "404": _refusal("No such session is kept."),
                        **{status: _REFUSALS[status] for status in ("400", "401", "421", "500", "503")},
                    },
                }
            },
            "/health": {
                "get": {
                    "summary": "Whether the server is alive.",
                    "operationId": "health",
                    "security": [],
                    "responses": {"200": {"description": "Alive.", "content": {"application/json": {}}}, **_OPEN_PAGES},
                }
            },
            "/ready": {
                "get": {
                    "summary": "What is served, once it is loaded and warm.",
                    "operationId": "ready",
                    "security": [],
                    "responses": {
                        "200": _given(_reference("Served"), "Ready."),
                        "503": _refusal("The server is about to end."),
                        **_OPEN_PAGES,
                    },
                }
            },
            "/metrics": {
                "get": {
                    "summary": "The server's numbers, for Prometheus.",
                    "operationId": "metrics",
                    "responses": {"200": _text("Numbers."), **_PAGES},
                }
            },
            "/": {
                "get": {
                    "summary": "A page that shows the recommendations.",
                    "operationId": "page",
                    "responses": {"200": _text("The page.", "text/html"), **_PAGES},
                }
            },
            "/sample": {
                "get": {
                    "summary": "A session that nobody had, to try the recommendations with.",
                    "operationId": "sample",
                    "responses": {"200": _given(_reference("Sample"), "A session."), **_PAGES},
                }
            },
            "/items": {
                "get": {
                    "summary": "Names and categories of items, where the shop has them.",
                    "operationId": "items",
                    "parameters": [
                        {
                            "name": "id",
                            "in": "query",
                            "schema": {"type": "array", "items": {"type": "string"}, "maxItems": MOST_DESCRIBED},
                        }
                    ],
                    "responses": {"200": _given(_reference("Items"), "The items, in order."), "400": _REFUSALS["400"], **_PAGES},
                }
            },
        },
        "components": {
            "schemas": _schemas(recommender, settings),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    if token:
        document["security"] = [{"token": []}]
    return document
