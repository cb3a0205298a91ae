"""The server process: find the model, take the port, say where it listens, serve until it is stopped."""

import json
import os
import shlex
import socket
from pathlib import Path
from typing import Any

from recsys.errors import BusyError, ConfigurationError, PackageError
from recsys.processes import END_WITH_PARENT
from recsys.serving.manifest import MANIFEST, read_package
from recsys.settings.serving import ServeSettings

READY = "Serving"
"""The first word of the line printed when the server listens."""


def resolve_package(model: str | None, tracking_uri: str | None, shop: str) -> Path:
    """The verified package folder of a model: a folder, an MLflow model URI, or, of None, the shop's registered champion.

    Raises
    ------
    PackageError
        If the folder is no package, or was altered.
    RegistryError
        If the model cannot be had from the registry.
    """
    from recsys.tracking import champion_uri, fetch_model

    if model is not None and ":/" not in model:
        folder = Path(model).expanduser()
        if not folder.is_dir():
            raise PackageError(f"there is no package folder {model}; give a folder that `recsys package` wrote, or a models:/ URI")
        read_package(folder)
        return folder
    folder = fetch_model(model if model is not None else champion_uri(tracking_uri, shop), tracking_uri)
    read_package(folder)
    return folder


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


def _example(package: Path, manifest: dict[str, Any], url: str) -> str:
    import polars as pl

    ids = pl.read_parquet(package / "artifacts" / "items.parquet", columns=["item_id"], n_rows=2)["item_id"].to_list()
    session = [str(item) for item in ids] if manifest["id_type"] == "hash" else ids
    body = shlex.quote(json.dumps({"dataframe_records": [{"session": session}]}))
    return f"curl {url}/invocations -H 'Content-Type: application/json' -d {body}"


def serve_package(package: Path, settings: ServeSettings, port: int | None = None) -> None:
    """Serve a verified package until the process is stopped.

    Prints the address and a request to try once the server listens.
    """
    import uvicorn

    manifest = json.loads((package / MANIFEST).read_text(encoding="utf-8"))
    listener = take_port(settings.host, settings.port if port is None else port)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{listener.getsockname()[1]}"
    options: dict[str, Any] = {"loop": "uvloop", "http": "httptools", "log_level": "warning", "access_log": False}
    line = (
        f"{READY} the {manifest['family']} model of {manifest['shop']} on {url} (Ctrl-C stops it); try: {_example(package, manifest, url)}"
    )
    if settings.workers == 1:
        from recsys.serving.app import build_app

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                print(line, flush=True)  # from here on Ctrl-C is the server's own

        Server(uvicorn.Config(build_app(package, settings), **options)).run(sockets=[listener])
        return

    from uvicorn.supervisors import Multiprocess

    from recsys.serving.app import PACKAGE_VARIABLE, SETTINGS_VARIABLE

    os.environ |= {PACKAGE_VARIABLE: str(package.resolve()), SETTINGS_VARIABLE: settings.model_dump_json()}
    os.environ[END_WITH_PARENT] = str(os.getpid())
    config = uvicorn.Config("recsys.serving.app:app_from_environment", factory=True, workers=settings.workers, **options)
    workers = Multiprocess(config, sockets=[listener])  # takes over Ctrl-C
    print(line, flush=True)
    workers.run()
