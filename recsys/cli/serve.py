"""`recsys serve`: the registered champion, or a package, over HTTP."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer


def serve(
    configuration: Annotated[
        Path | None, typer.Option(help="The shop's configuration, of which shop, tracking and serve are read; without it their defaults.")
    ] = None,
    settings: Annotated[str | None, typer.Option(help="The same as JSON, as the workflow hands it on.")] = None,
    model: Annotated[
        str | None, typer.Option(help="A package folder or an MLflow model URI; without it serve.model, or the champion.")
    ] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="The MLflow store; without it tracking.uri.")] = None,
    shop: Annotated[str | None, typer.Option(help="The shop whose champion is served; without it the one in the settings.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 takes any free one. Without it serve.port.")] = None,
) -> None:
    """Find the model, verify it and answer `POST /invocations` until Ctrl-C."""
    from recsys.config import load_configuration
    from recsys.configuration_file import read_configuration
    from recsys.errors import ConfigurationError
    from recsys.serving.quiet import quiet_mlflow
    from recsys.serving.server import resolve_package, serve_package
    from recsys.serving.settings import read_settings

    if configuration and settings:
        raise ConfigurationError("--configuration and --settings say the same things; leave one of them out")
    quiet_mlflow()
    chosen = load_configuration(read_configuration(configuration)) if configuration else read_settings(settings or "{}")
    found = resolve_package(model or chosen.serve.model, tracking_uri or chosen.tracking.uri, shop or chosen.shop)
    with suppress(KeyboardInterrupt):  # the way a server is meant to be stopped
        serve_package(found.model_copy(update={"settings": chosen.serve}), port)
