"""`recsys export`: the champion in the form it is served from."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[Path, typer.Option(help="The fitted model's folder.")],
    output: Annotated[Path, typer.Option(help="The export folder to write.")],
    settings: Annotated[str, typer.Option(help="JSON with the sections evaluation and serve.")] = "{}",
) -> None:
    """Write the graph (or a counting model's files) and check it against the model."""
    from recsys.serving.export import export_model
    from recsys.serving.settings import read_settings

    description = export_model(model, output, read_settings(settings))
    print(f"exported the {description['family']} model with {description['items']} items to {output} ({description['runtime']})")
