"""The space of a search: what a trial draws from it, and what a drawn value is as a parameter."""

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from recsys.settings.base import Section
from recsys.settings.tuning import Dimension

if TYPE_CHECKING:
    import optuna

_SCALARS = (bool, int, float, str)


def draw(trial: "optuna.trial.BaseTrial", space: dict[str, Dimension]) -> dict[str, Any]:
    """A value of every dimension, by the names of the parameters; a trial that has drawn before draws the same."""
    return {name: _drawn(trial, name, dimension) for name, dimension in space.items()}


def as_parameter(value: Any, kind: type[Section], name: str) -> Any:
    """A drawn value as the parameter takes it: a single number becomes a list of one where the parameter takes a list."""
    return [value] if get_origin(kind.model_fields[name].annotation) is list and not isinstance(value, list) else value


def encoded(value: Any, dimension: Dimension) -> Any:
    """A drawn value as the sampler knows it: choices that are no plain values are texts to it."""
    return value if dimension.choices is None or isinstance(value, _SCALARS) else json.dumps(value)


def takes_whole_numbers(kind: type[Section], name: str) -> bool:
    """Whether a parameter of a family is a whole number, or a list of them."""
    annotation = kind.model_fields[name].annotation
    if get_origin(annotation) is list:
        (annotation,) = get_args(annotation)
    if get_origin(annotation) is Annotated:  # with bounds of its own
        annotation = get_args(annotation)[0]
    return annotation is int


def _drawn(trial: "optuna.trial.BaseTrial", name: str, dimension: Dimension) -> Any:
    low, high, step, log = dimension.low, dimension.high, dimension.step, dimension.log
    if dimension.choices is not None:
        by_code = {encoded(choice, dimension): choice for choice in dimension.choices}
        return by_code[trial.suggest_categorical(name, list(by_code))]
    if isinstance(low, int):
        return trial.suggest_int(name, low, high, step=step or 1, log=log)
    value = trial.suggest_float(name, low, high, step=step, log=log)
    if step is None:
        return value
    # The nearest number of few digits: 0.045, where sums of floats give 0.045000000000000005.
    return float(Decimal(str(low)) + round((value - low) / step) * Decimal(str(step)))
