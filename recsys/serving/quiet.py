"""MLflow's voice, turned down to what a user can act on."""

import logging

import mlflow  # noqa: F401 - it sets its loggers up when it is imported, over whatever was set before


def quiet_mlflow() -> None:
    """Keep MLflow's progress notes out of the stages' output."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
