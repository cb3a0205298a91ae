"""The OpenAPI document of the served app."""

from typing import Any

from recsys.serving.recommender import DEFAULT_K, LARGEST_EXACT, LARGEST_K
from recsys.serving.requests import MOST_CATEGORIES, MOST_EXCLUDED
from recsys.settings.serving import ServeSettings

_ITEM = {
    "integer": {"type": "integer", "minimum": -LARGEST_EXACT, "maximum": LARGEST_EXACT},
    "string": {"type": "string"},
    "hash": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
}


def _object(properties: dict[str, Any], required: list[str], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False, **more}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _refusal(what: str) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": _reference("Refusal")}}}


def _given(schema: dict[str, Any], what: str) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}


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


def _schemas(id_type: str, settings: ServeSettings) -> dict[str, Any]:
    item = _reference("ItemId")
    scalars = {"type": ["array", "null"], "items": {"type": ["string", "integer"]}}
    params = {
        "k": {"type": "integer", "minimum": 1, "maximum": LARGEST_K, "default": DEFAULT_K, "description": "Items an answer."},
        "exclude": {
            "type": ["array", "null"],
            "items": item,
            "maxItems": MOST_EXCLUDED,
            "description": "Items that are left out.",
        },
        "categories": {
            "type": ["array", "null"],
            "items": {"type": ["string", "integer"]},
            "maxItems": MOST_CATEGORIES,
            "description": "Only items of these categories.",
        },
        "available": {"type": "boolean", "default": True, "description": "Only items on sale, where the server knows which are."},
        "diversity": {
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": 1,
            "description": "0 ranks by the model alone, 1 by difference alone (maximal marginal relevance).",
        },
    }
    session = {"type": "array", "items": item, "description": "Items of the session so far, oldest first."}
    row = _object(
        {"session": session, "visitor": {"type": ["string", "integer", "null"]}, "events": scalars, "times": scalars}, ["session"]
    )
    rows = {"type": "array", "items": row, "maxItems": settings.max_sessions}
    answer = {
        "recommendations": {"type": "array", "items": item, "description": "Best first."},
        "scores": {"type": "array", "items": {"type": "number"}},
        "fallback": {
            "type": ["string", "null"],
            "enum": ["popular", None],
            "description": "What it is where not the model's.",
        },
    }
    names = list(answer)
    columns = {
        "type": "object",
        "properties": {"session": {"type": "array", "items": session, "maxItems": settings.max_sessions}},
        "required": ["session"],
        "additionalProperties": False,
    }
    split = _object(
        {
            "columns": {"type": "array", "prefixItems": [{"const": "session"}], "minItems": 1, "maxItems": 1},
            "data": {
                "type": "array",
                "items": {"type": "array", "prefixItems": [session], "minItems": 1, "maxItems": 1},
                "maxItems": settings.max_sessions,
            },
            "index": {"type": "array"},
        },
        ["columns", "data"],
    )
    return {
        "ItemId": _ITEM[id_type],
        "Params": {"type": "object", "properties": params, "additionalProperties": False},
        "Invocation": {
            "oneOf": [
                _object({"dataframe_records": rows, "params": _reference("Params")}, ["dataframe_records"]),
                _object({"dataframe_split": split, "params": _reference("Params")}, ["dataframe_split"]),
                _object({"inputs": {"oneOf": [rows, columns]}, "params": _reference("Params")}, ["inputs"]),
            ]
        },
        "Click": _object(
            {"item": item, "session": {**session, "type": ["array", "null"]}, "params": _reference("Params")},
            ["item"],
            description="session: the clicks before this one, from which the answer is found where the server keeps the session no more.",
        ),
        "Answer": _object(answer, names),
        "Predictions": _object({"predictions": {"type": "array", "items": _reference("Answer")}}, ["predictions"]),
        "Step": _object({**answer, "clicks": {"type": "integer", "minimum": 1, "description": "Clicks so far."}}, [*names, "clicks"]),
        "Refusal": _object({"error_code": {"type": "string"}, "message": {"type": "string"}}, ["error_code", "message"]),
    }


def describe(id_type: str, settings: ServeSettings) -> dict[str, Any]:
    """The document, for a shop whose ids travel as `id_type`."""
    body = lambda name: {"required": True, "content": {"application/json": {"schema": _reference(name)}}}  # noqa: E731
    key = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "maxLength": 200}}
    plain = {"description": "Alive.", "content": {"application/json": {}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Session recommender", "version": "1", "description": "Next-item recommendations for sessions of a shop."},
        "paths": {
            "/invocations": {
                "post": {
                    "summary": "Recommend items for each of several sessions.",
                    "operationId": "recommend",
                    "requestBody": body("Invocation"),
                    "responses": {"200": _given(_reference("Predictions"), "An answer a session."), **_REFUSALS},
                }
            },
            "/sessions/{id}/clicks": {
                "post": {
                    "summary": "Tell the next click of a session, and recommend what may follow.",
                    "operationId": "click",
                    "parameters": [key],
                    "requestBody": body("Click"),
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
            "/health": {"get": {"summary": "Whether the server is alive.", "operationId": "health", "responses": {"200": plain}}},
            "/ready": {
                "get": {
                    "summary": "What is served, once it is loaded and warm.",
                    "operationId": "ready",
                    "responses": {"200": _given({"type": "object"}, "Ready."), "503": _refusal("The server is about to end.")},
                }
            },
            "/metrics": {
                "get": {
                    "summary": "The server's numbers, for Prometheus.",
                    "operationId": "metrics",
                    "responses": {"200": {"description": "Text.", "content": {"text/plain": {}}}},
                }
            },
        },
        "components": {
            "schemas": _schemas(id_type, settings),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
