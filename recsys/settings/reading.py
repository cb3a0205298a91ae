"""Settings as a stage receives them: a JSON object of sections."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from recsys.errors import ConfigurationError

SectionType = TypeVar("SectionType", bound=BaseModel)


def parse_settings(text: str) -> dict[str, Any]:
    """The JSON object in `--settings`."""
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"--settings is no JSON ({error.msg} at character {error.pos}); pass one object, in quotes") from None
    if not isinstance(settings, dict):
        raise ConfigurationError(f"--settings is a {type(settings).__name__}; pass one JSON object")
    return settings


def section(settings: dict[str, Any], key: str, kind: type[SectionType]) -> SectionType:
    """A typed section of the settings; its defaults where it is not given."""
    try:
        return kind.model_validate(settings.get(key, {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([key, *map(str, first["loc"])])
        raise ConfigurationError(f"--settings {where}: {first['msg']} (it is {first.get('input')!r})") from None


def required(settings: dict[str, Any], key: str) -> Any:
    """A key that the settings must hold."""
    if key not in settings:
        raise ConfigurationError(f"--settings has no {key!r}; add it")
    return settings[key]
