"""The `recsys` command: all stages by name, each imported only when it is asked for."""

import importlib
import os
import sys
import traceback

import typer

COMMANDS = {
    "download": "Generate the demo shop's raw log, or fetch files of a public one.",
    "ingest": "Read one raw file into events, and set the rows that cannot be read aside.",
    "catalogue": "Read what the shop knows of its items: names, categories, availability.",
    "check": "Judge the log as a whole, and name the rows that checks remove.",
    "quality": "Draw the quality of every part and of the log.",
    "sessionize": "Join the events' parts into sessions and the catalogue.",
    "code": "Write the events with codes for names, for jobs that share the visitors.",
    "shard": "Make the sessions of a part of the visitors.",
    "join": "Join the sessions of all visitors.",
    "encode": "Write a fit window: vocabulary, training and held-out sessions.",
    "overview": "Count and draw what the log holds, and what the preparation removed.",
    "trial": "Run one trial of a search for better parameters.",
    "tune": "Gather a search's trials, draw them, and write the best one as a configuration.",
    "train": "Train one run of the grid.",
    "evaluate": "Rank every validation prediction of a run against all items.",
    "select": "Choose the run that is refitted.",
    "refit": "Fit the chosen run, or a baseline, on training and validation together.",
    "test": "Score the refitted champion and its baselines on test, once.",
    "leaderboard": "Gather every run's metrics in one table.",
    "breakdown": "Draw what the models are worth on test, by session, position and popularity.",
    "curves": "Draw loss and validation by epoch.",
    "resources": "Gather the rules' seconds and memory in a table and a figure.",
    "export": "Write the champion in the form it is served from.",
    "package": "Build the MLflow model folder and prove that it answers as the fitted model does.",
    "smoke": "Start the server on a package and send it good and bad requests.",
    "register": "Upload the runs, register the package and decide on its promotion.",
    "examples": "Write example sessions with what the package recommends in them.",
    "verdict": "Write the report's pages on the choice, the test, the package and its promotion.",
    "serve": "Serve the registered champion, or a package.",
    "validate": "Say whether a configuration can be used, before anything runs.",
    "summary": "Print what a finished pipeline found.",
    "schema": "Write the configuration's JSON Schema.",
    "unlock": "Remove the locks of a workflow that was killed.",
}
"""Command name to its one-line help; the command `x` is the function `x` of `recsys.cli.x`."""


def application(wanted: str | None = None) -> typer.Typer:
    """All commands; only the module of the wanted one is imported, so that no stage waits for another's libraries."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback()(_recsys)
    for name, told in COMMANDS.items():
        function = getattr(importlib.import_module(f"recsys.cli.{name}"), name) if name == wanted else _listed_only
        app.command(name, help=told)(function)
    return app


def _recsys() -> None:
    """From a shop's event log to a served next-item recommender, stage by stage."""


def _listed_only() -> None:
    """Stands for a command that was not asked for."""


def main() -> None:
    """Run a command; an error that a user can mend is printed as one sentence, without a trace, and it is the last line in any case."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Read when OpenMP is loaded: threads that wait for others look again some thousand times, then sleep, so that a core that another
    # job takes meanwhile is not fought over.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    from recsys.cli.mishaps import told
    from recsys.errors import RecsysError
    from recsys.processes import end_with_parent

    end_with_parent()
    try:
        application(next((argument for argument in sys.argv[1:] if argument in COMMANDS), None))()
    except RecsysError as error:
        print(f"recsys: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("recsys: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        known = told(error)
        if known is not None:
            print(f"recsys: {known}", file=sys.stderr)
            sys.exit(known.exit_code)
        traceback.print_exc()
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        print(f"recsys: a fault of the program, {type(error).__name__}: {reason}; report it with the lines above", file=sys.stderr)
        sys.exit(1)
