"""MLflow's voice, turned down to what a user can act on."""

import logging
import warnings


def quiet_mlflow() -> None:
    """Keep MLflow's progress notes, and its advice to annotate `predict`, out of the stages' output."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*Add type hints to the `predict` method.*")
