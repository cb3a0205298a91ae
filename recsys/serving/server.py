"""The server process: find the model, take the port, say where it listens, serve until it is stopped."""

import json
import os
import shlex
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from recsys.errors import BusyError, ConfigurationError, PackageError
from recsys.processes import END_WITH_PARENT, end_with_parent
from recsys.serving.garbage import settle
from recsys.serving.http import LOOPBACK, Guard
from recsys.serving.manifest import MANIFEST, read_package
from recsys.settings.serving import ServeSettings

if TYPE_CHECKING:
    from recsys.serving.app import App

READY = "Serving"
"""The first word of the line printed when the server listens."""
TOKEN_VARIABLE = "RECSYS_SERVE_TOKEN"
"""Environment variable with the token that clients must show."""
START_VARIABLE = "RECSYS_SERVE_START"
"""Environment variable that tells each of several server processes what to serve."""

_SHORTEST_TOKEN = 16
_DRAIN_SECONDS = 8
_THREAD_TURN = 0.0005
"""Seconds after which a thread gives Python's lock to one that waits for it: short, for the event loop must not wait for a long answer
to be written."""


class Start(BaseModel):
    """What a server process serves.

    Attributes
    ----------
    package
        A verified package folder.
    version
        Its version in the registry; empty for a folder.
    follows
        Whether the shop's champion is served, whichever it will be.
    tracking_uri, shop
        Where that is registered.
    settings
        How it is served.
    sessions
        The server's own folder for kept sessions; None until it is made.
    """

    package: Path
    version: str = ""
    follows: bool = False
    tracking_uri: str | None = None
    shop: str = ""
    settings: ServeSettings = ServeSettings()
    sessions: Path | None = None


def resolve_package(model: str | None, tracking_uri: str | None, shop: str) -> Start:
    """The verified package of a model: a folder, an MLflow model URI, or, of None, the shop's registered champion.

    Raises
    ------
    PackageError
        If the folder is no package, or was altered.
    RegistryError
        If the model cannot be had from the registry.
    """
    from recsys.tracking import champion_uri, champion_version, fetch_model, fetch_version

    if model is not None and ":/" not in model:
        folder = Path(model).expanduser()
        if not folder.is_dir():
            raise PackageError(f"there is no package folder {model}; give a folder that `recsys package` wrote, or a models:/ URI")
        read_package(folder)
        return Start(package=folder, shop=shop)
    if model is not None:
        folder = fetch_model(model, tracking_uri)
        read_package(folder)
        return Start(package=folder, version=model.rpartition("/")[2], shop=shop)
    champion_uri(tracking_uri, shop)
    version = champion_version(tracking_uri, shop)
    folder = fetch_version(tracking_uri, shop, version)
    read_package(folder)
    return Start(package=folder, version=version, follows=True, tracking_uri=tracking_uri, shop=shop)


def take_port(host: str, port: int) -> socket.socket:
    """A socket that listens on the address; port 0 is any free one.

    Raises
    ------
    BusyError
        If the port is taken.
    ConfigurationError
        If the host is no address of this machine, or the port may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except PermissionError:
        listener.close()
        raise ConfigurationError(f"serve.port: this user may not listen on port {port}; choose one above 1023") from None
    except (socket.gaierror, OSError) as error:
        listener.close()
        if isinstance(error, socket.gaierror) or error.errno == 99:
            raise ConfigurationError(
                f"serve.host: {host!r} is no address of this machine; use 127.0.0.1, or 0.0.0.0 behind a gateway"
            ) from None
        raise BusyError(
            f"port {port} of {host} is already in use; choose another with serve.port (or --port), or stop what listens there"
        ) from None
    listener.set_inheritable(True)
    return listener


def make_guard(settings: ServeSettings, token: str | None) -> Guard:
    """Who may ask a server of these settings.

    Raises
    ------
    ConfigurationError
        If it would listen beyond this machine without a token or without knowing its own names, or the token can be guessed.
    """
    local = settings.host in LOOPBACK
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise ConfigurationError(f"{TOKEN_VARIABLE}: a token needs at least {_SHORTEST_TOKEN} characters; `openssl rand -hex 24` makes one")
    if not local and token is None:
        raise ConfigurationError(
            f"serve.host: {settings.host} can be reached from elsewhere, so a token is required; set {TOKEN_VARIABLE}"
            " (`openssl rand -hex 24` makes one), or listen on 127.0.0.1"
        )
    if not local and not settings.allowed_hosts and settings.host in ("0.0.0.0", "::"):
        raise ConfigurationError(
            f"serve.allowed_hosts: on {settings.host} the server does not know its own name; list those by which clients call it, or '*'"
        )
    return Guard([*settings.allowed_hosts, settings.host, *(LOOPBACK if local else ())], token)


def build_app(start: Start) -> "App":
    """The application of a server process.

    Raises
    ------
    PackageError
        If the package was altered or cannot be read.
    ConfigurationError
        If it cannot be served by these settings.
    """
    from recsys.serving.app import App
    from recsys.serving.champion import Champion
    from recsys.serving.engine import Engine, ServedModel
    from recsys.serving.metrics import Metrics
    from recsys.serving.session_store import open_store, temporary_folder

    guard = make_guard(start.settings, os.environ.get(TOKEN_VARIABLE))
    served = ServedModel.load(start.package, start.version, start.settings)
    folder = start.sessions
    own = None
    if folder is None:
        own = temporary_folder()
        folder = Path(own.name)
    metrics = Metrics()
    engine = Engine(served, start.settings, metrics, open_store(start.settings.sessions, folder))
    champion = Champion(start.tracking_uri, start.shop, start.version) if start.follows else None
    app = App(engine, start.settings, metrics, guard, champion)
    app.belongings = own
    sys.setswitchinterval(_THREAD_TURN)
    return app


def app_from_environment() -> "App":
    """What each of several server processes starts from."""
    end_with_parent()
    app = build_app(Start.model_validate_json(os.environ[START_VARIABLE]))
    settle()
    return app


def _example(package: Path, manifest: dict[str, Any], url: str) -> str:
    import polars as pl

    ids = pl.read_parquet(package / "artifacts" / "items.parquet", columns=["item_id"], n_rows=2)["item_id"].to_list()
    session = [str(item) for item in ids] if manifest["id_type"] == "hash" else ids
    body = shlex.quote(json.dumps({"dataframe_records": [{"session": session}]}))
    token = f" -H 'Authorization: Bearer '${TOKEN_VARIABLE}" if TOKEN_VARIABLE in os.environ else ""
    return f"curl {url}/invocations -H 'Content-Type: application/json'{token} -d {body}"


def serve_package(start: Start, port: int | None = None) -> None:
    """Serve a verified package until the process is stopped.

    Prints the address and a request to try once the server listens. SIGTERM and Ctrl-C let it answer what it has been asked.

    Raises
    ------
    ConfigurationError
        If it cannot be served by these settings.
    """
    import uvicorn

    from recsys.serving.connection import Connection
    from recsys.serving.metrics import share_between_processes
    from recsys.serving.session_store import temporary_folder
    from recsys.serving.shared_listener import make_places

    settings = start.settings
    make_guard(settings, os.environ.get(TOKEN_VARIABLE))
    for key in ("available", "exclude"):
        path = getattr(settings.rules, key)
        if path is not None and not Path(path).is_file():
            raise ConfigurationError(
                f"serve.rules.{key}: there is no file {path}; write the ids of the items into it, one a line, or correct the path"
            )
    manifest = json.loads((start.package / MANIFEST).read_text(encoding="utf-8"))
    listener = take_port(settings.host, settings.port if port is None else port)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{listener.getsockname()[1]}"
    options: dict[str, Any] = {
        "loop": "uvloop",
        "http": Connection,
        "ws": "none",
        "proxy_headers": False,
        "lifespan": "on",
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "timeout_keep_alive": 30,
        "timeout_graceful_shutdown": _DRAIN_SECONDS,
    }
    line = (
        f"{READY} the {manifest['family']} model of {manifest['shop']} on {url} (Ctrl-C stops it);"
        f" see {url}/ in a browser, or try: {_example(start.package, manifest, url)}"
    )
    with ExitStack() as folders:
        sessions = Path(folders.enter_context(temporary_folder()))
        start = start.model_copy(update={"package": start.package.resolve(), "sessions": sessions})
        if settings.workers == 1:

            class Server(uvicorn.Server):
                async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                    await super().startup(sockets)
                    settle()
                    print(line, flush=True)  # from here on Ctrl-C is the server's own

            Server(uvicorn.Config(build_app(start), **options)).run(sockets=[listener])
            return

        folders.enter_context(share_between_processes())
        make_places(sessions / "places", settings.workers)
        options["loop"] = "recsys.serving.shared_listener:SharedListenerLoop"
        os.environ[START_VARIABLE] = start.model_dump_json()
        os.environ[END_WITH_PARENT] = str(os.getpid())
        config = uvicorn.Config("recsys.serving.server:app_from_environment", factory=True, workers=settings.workers, **options)
        workers = _workers(config, listener)  # takes over Ctrl-C
        print(line, flush=True)
        workers.run()


def _workers(config: Any, listener: socket.socket) -> Any:
    from uvicorn.supervisors import Multiprocess

    from recsys.serving.metrics import forget_process

    class Workers(Multiprocess):
        """Replaces a worker that ended, and takes its numbers of the moment out of the shared ones."""

        def keep_subprocess_alive(self) -> None:
            before = {process.pid for process in self.processes}
            super().keep_subprocess_alive()
            for process in before - {process.pid for process in self.processes}:
                forget_process(process)

    return Workers(config, sockets=[listener])
