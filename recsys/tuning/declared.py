"""What a search was declared to be, made whole: its space, by default the published one, and its fixed parameters, both found sound."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from recsys.configuration_errors import sentence
from recsys.settings.base import Section
from recsys.settings.tuning import Dimension, TuneSettings
from recsys.tuning.space import as_parameter, takes_whole_numbers

_GRU4REC = {
    "layers": Dimension(low=64, high=512, step=32),
    "batch_size": Dimension(low=32, high=256, step=16),
    "learning_rate": Dimension(low=0.01, high=0.25, step=0.005),
    "dropout_embedding": Dimension(low=0.0, high=0.5, step=0.05),
    "dropout_hidden": Dimension(low=0.0, high=0.7, step=0.05),
    "momentum": Dimension(low=0.0, high=0.9, step=0.05),
    "sample_alpha": Dimension(low=0.0, high=1.0, step=0.1),
}
_BPR_MAX = {"bpreg": Dimension(low=0.0, high=2.0, step=0.05), "elu_param": Dimension(choices=[0.0, 0.5, 1.0])}
PUBLISHED = {"cross-entropy": _GRU4REC, "bpr-max": _GRU4REC | _BPR_MAX}
"""The spaces of GRU4Rec's authors by loss (https://github.com/hidasib/GRU4Rec_PyTorch_Official, paramspaces/), with which the parameters of
Hidasi & Czapp, "The effect of third party implementations on reproducibility", RecSys 2023, were found."""


def declared(tune: TuneSettings, kind: type[Section], base: Section) -> TuneSettings:
    """The search with its whole space and every fixed parameter.

    Parameters
    ----------
    tune
        As it was written.
    kind
        The family's parameters.
    base
        What every run of the family starts from.

    Raises
    ------
    ValueError
        In one sentence, if the family does not have a parameter, or would refuse a value that the search may give it.
    """
    fixed = _checked(kind, base.model_dump(mode="json", exclude_unset=True) | tune.parameters, "tune.parameters")
    space = tune.space or _published(tune, fixed)
    twice = sorted(space.keys() & tune.parameters.keys())
    if twice:
        raise ValueError(f"tune.parameters.{twice[0]}: it is searched too, in tune.space; remove one of the two")
    parameters = fixed.model_dump(mode="json")
    for name, dimension in space.items():
        for value in _values(dimension):
            value = as_parameter(value, kind, name) if name in kind.model_fields else value
            _checked(kind, parameters | {name: value}, "tune.space")
    left = {name: value for name, value in parameters.items() if name not in space}
    return tune.model_copy(update={"parameters": left, "space": {name: _typed(dimension, kind, name) for name, dimension in space.items()}})


def _published(tune: TuneSettings, fixed: Section) -> dict[str, Dimension]:
    if tune.model != "gru4rec":
        names = ", ".join(type(fixed).model_fields)
        raise ValueError(f"tune.space: none is published for {tune.model}; declare which of its parameters to search: {names}")
    space = PUBLISHED[fixed.loss]
    left = {name: dimension for name, dimension in space.items() if name not in tune.parameters}
    if not left:
        raise ValueError("tune.parameters: every parameter of the published space is fixed; leave one to the search, or declare tune.space")
    return left


def _values(dimension: Dimension) -> Iterator[Any]:
    """The values that tell whether all others are allowed: every choice, or the ends of a range."""
    yield from dimension.choices if dimension.choices is not None else (dimension.low, dimension.high)


def _typed(dimension: Dimension, kind: type[Section], name: str) -> Dimension:
    """The range with numbers as the parameter takes them: whole ones, or any."""
    numbers = {key: value for key in ("low", "high", "step") if (value := getattr(dimension, key)) is not None}
    if takes_whole_numbers(kind, name):
        broken = [value for value in numbers.values() if value != int(value)]
        if broken:
            raise ValueError(f"tune.space.{name}: {broken[0]} cannot be used; write a whole number")
        return dimension.model_copy(update={key: int(value) for key, value in numbers.items()})
    return dimension.model_copy(update={key: float(value) for key, value in numbers.items()})


def _checked(kind: type[Section], parameters: dict[str, Any], place: str) -> Section:
    try:
        return kind.model_validate(parameters)
    except ValidationError as error:
        raise ValueError(sentence(error, place, kind)) from None
