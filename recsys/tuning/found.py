"""The best trial as a configuration: written by the search, named by a run as `tuned`."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from recsys.configuration_errors import sentence
from recsys.configuration_file import read_configuration
from recsys.files import whole_file
from recsys.settings.base import Section
from recsys.tuning.outcome import Outcome


class Found(Section):
    """What a search found."""

    model: str
    """The family."""
    parameters: dict[str, Any]
    """All its parameters."""
    metric: str | None = None
    """The validation metric by which they were chosen."""
    value: float | None = None
    """Its value, of one seed."""
    seed: int | None = None
    """The seed."""
    trial: int | None = None
    """The trial's number, from 0."""
    trials: int | None = None
    """Of how many."""
    study: str | None = None
    """The search's name in the store."""
    data: dict[str, str] = {}
    """SHA-256 (hex) of the files that the trials read, by name."""


def write_found(best: Outcome, trials: int, path: Path) -> None:
    """Write the best of so many trials as YAML."""
    shared = ("model", "parameters", "metric", "value", "seed", "trial", "study", "data")
    content = {name: getattr(best, name) for name in shared} | {"trials": trials}
    found = Found.model_validate(content).model_dump(mode="json")
    with whole_file(path) as partial:
        head = f"# The best of {trials} trials. A run takes these parameters with `tuned: PATH`; its own `parameters` go before them.\n"
        partial.write_text(head + yaml.safe_dump(found, sort_keys=False), encoding="utf-8")


def read_found(path: Path) -> Found:
    """Read what `write_found` wrote.

    Raises
    ------
    ConfigurationError
        If the file is no YAML.
    ValueError
        In one sentence, if it holds something else.
    """
    try:
        return Found.model_validate(read_configuration(path))
    except ValidationError as error:
        raise ValueError(f"{path}: {sentence(error, '', Found)}") from None
