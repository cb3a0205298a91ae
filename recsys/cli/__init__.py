"""`recsys STAGE …`: the one door to every stage, for a person, a test and a workflow rule alike."""

import importlib
import os
import sys

import click
import typer
from typer.core import TyperGroup

COMMANDS = {
    "download": "Write the demo shop's raw log.",
    "ingest": "Read one raw file into events, and set the rows that cannot be read aside.",
    "sessionize": "Join the events' parts into sessions and the catalogue.",
    "encode": "Write a fit window: vocabulary, training and held-out sessions.",
    "train": "Train one run of the grid.",
    "evaluate": "Rank every validation prediction of a run against all items.",
    "select": "Choose the run that is refitted.",
    "refit": "Fit the chosen run, or a baseline, on training and validation together.",
    "test": "Score the refitted champion and its baselines on test, once.",
    "leaderboard": "Gather every run's metrics in one table.",
    "export": "Write the champion in the form it is served from.",
    "package": "Build the MLflow model folder and prove that it answers as the fitted model does.",
    "smoke": "Start the server on a package and send it good and bad requests.",
    "register": "Upload the runs, register the package and decide on its promotion.",
    "serve": "Serve the registered champion, or a package.",
    "summary": "Print what a finished pipeline found.",
    "schema": "Write the configuration's JSON Schema.",
    "unlock": "Remove the locks of a workflow that was killed.",
}
"""Command name to its one-line help; the command `x` is the function `x` of `recsys.cli.x`."""


class _Stages(TyperGroup):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"recsys.cli.{cmd_name}")
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name=cmd_name, help=COMMANDS[cmd_name])(getattr(module, cmd_name))
        return typer.main.get_command(single)


app = typer.Typer(cls=_Stages, add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _recsys() -> None:
    """From a shop's event log to a served next-item recommender, stage by stage."""


def main() -> None:
    """Run a command; an error meant for the user is printed as one sentence, without a trace."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from recsys.errors import RecsysError
    from recsys.processes import end_with_parent

    end_with_parent()
    try:
        app()
    except RecsysError as error:
        print(f"recsys: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("recsys: interrupted", file=sys.stderr)
        sys.exit(130)
