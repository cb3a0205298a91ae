"""`recsys serve`: the registered champion, or a package, over HTTP."""

from contextlib import suppress
from typing import Annotated

import typer


def serve(
    settings: Annotated[str, typer.Option(help="JSON with shop, tracking and serve.")] = "{}",
    model: Annotated[
        str | None, typer.Option(help="A package folder or an MLflow model URI; without it serve.model, or the champion.")
    ] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="The MLflow store; without it tracking.uri.")] = None,
    shop: Annotated[str | None, typer.Option(help="The shop whose champion is served; without it the one in the settings.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 takes any free one. Without it serve.port.")] = None,
) -> None:
    """Find the model, verify it and answer `POST /invocations` until Ctrl-C."""
    from recsys.serving.quiet import quiet_mlflow
    from recsys.serving.server import resolve_package, serve_package
    from recsys.serving.settings import read_settings

    quiet_mlflow()
    chosen = read_settings(settings)
    found = resolve_package(model or chosen.serve.model, tracking_uri or chosen.tracking.uri, shop or chosen.shop)
    with suppress(KeyboardInterrupt):  # the way a server is meant to be stopped
        serve_package(found.model_copy(update={"settings": chosen.serve}), port)
