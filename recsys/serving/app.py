"""The served app: MLflow's scoring app with our `/invocations`, which answers and refuses as the serving contract says."""

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from recsys.serving.recommender import Recommender
from recsys.serving.requests import BadRequest, check_content_type, read_request
from recsys.settings.serving import ServeSettings

PACKAGE_VARIABLE = "RECSYS_SERVE_PACKAGE"
SETTINGS_VARIABLE = "RECSYS_SERVE_SETTINGS"

_logger = logging.getLogger("recsys.serving")

_INFERENCE_THREADS = 4
_DRAIN = 16
"""How many times the largest body is read and thrown away, so that a client hears the refusal before its connection ends."""


def _json(content: dict, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")


def _error(error_code: str, sentence: str, status: int) -> Response:
    return _json({"error_code": error_code, "message": sentence}, status)


async def _read_body(request: HttpRequest, largest: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= largest:
            parts.append(part)
        else:
            parts.clear()
            if size > _DRAIN * largest:
                break
    if size > largest:
        raise BadRequest(f"The body may have at most {largest} bytes.", 413, "REQUEST_TOO_LARGE")
    return b"".join(parts)


def build_app(package: Path, settings: ServeSettings) -> FastAPI:
    """The app that serves a package.

    `/ping`, `/health` and `/version` are MLflow's own; every error is JSON with MLflow's keys `error_code` and `message`.

    Parameters
    ----------
    package
        A package folder; the caller has verified it.
    settings
        Limits of a request, and how many clicks of a session are looked at.
    """
    import mlflow.pyfunc
    from mlflow.pyfunc import scoring_server

    model = mlflow.pyfunc.load_model(str(package))
    recommender: Recommender = model.unwrap_python_model().recommender
    app = scoring_server.init(model)
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", None) != "/invocations"]
    inference = ThreadPoolExecutor(_INFERENCE_THREADS, thread_name_prefix="inference")

    def answer(body: bytes) -> bytes:
        request = read_request(body, recommender.id_type, settings.max_sessions)
        predictions = recommender.recommend(request.sessions, request.k, settings.max_session_length)
        return orjson.dumps({"predictions": predictions})

    @app.post("/invocations")
    async def invocations(request: HttpRequest) -> Response:
        """Recommend items for each session."""
        try:
            check_content_type(request.headers.get("content-type"), request.headers.get("content-encoding"))
            body = await _read_body(request, settings.max_body_bytes)
            content = await asyncio.get_running_loop().run_in_executor(inference, answer, body)
            return Response(content, media_type="application/json")
        except BadRequest as refused:
            return _error(refused.error_code, refused.sentence, refused.status)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            _logger.exception("a request to /invocations failed")
            return _error("INTERNAL_ERROR", "The server could not answer this request; its log says why.", 500)

    @app.exception_handler(HTTPException)
    async def refuse(request: HttpRequest, error: HTTPException) -> Response:
        named = {404: ("RESOURCE_DOES_NOT_EXIST", "There is no such page."), 405: ("BAD_REQUEST", "This method is not allowed here.")}
        error_code, sentence = named.get(error.status_code, ("BAD_REQUEST", "The request cannot be answered."))
        response = _error(error_code, sentence, error.status_code)
        response.headers.update(error.headers or {})
        return response

    return app


def app_from_environment() -> FastAPI:
    """What each of several server processes starts from."""
    from recsys.processes import end_with_parent

    end_with_parent()
    settings = ServeSettings.model_validate_json(os.environ[SETTINGS_VARIABLE])
    return build_app(Path(os.environ[PACKAGE_VARIABLE]), settings)
