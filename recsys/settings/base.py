"""What every section of the configuration shares: strict keys, and durations such as `30m` or `7d`."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
DURATION_PATTERN = r"^\s*([0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d|w)\s*)+$"


class Section(BaseModel):
    """A frozen part of the configuration; unknown keys are refused, attribute docstrings become the schema's descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)


def parse_duration(value: Any) -> int:
    """Milliseconds of a duration: `"30m"`, `"1h30m"`, `"7d"`, or a whole number of milliseconds, 1000 at least.

    Raises
    ------
    ValueError
        If the text is no sum of numbers with the units ms, s, m, h, d, w.
    """
    if isinstance(value, bool):
        raise ValueError("a duration is a text such as '30m' or a number of milliseconds, not a truth value")
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"a duration cannot be negative: {value}")
        if 0 < value < 1000:
            raise ValueError(
                f"{value} has no unit and would be milliseconds; write a text such as '{value}m' or '{value}d' (or '{value}ms')"
            )
        return value
    if isinstance(value, str) and re.match(DURATION_PATTERN, value):
        parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d|w)", value)
        return round(sum(float(number) * _UNITS_MS[unit] for number, unit in parts))
    raise ValueError(f"{value!r} is no duration; write a number and a unit (ms, s, m, h, d, w), such as '30m' or '7d'")


def format_duration(milliseconds: int) -> str:
    """The shortest text that `parse_duration` reads back, such as `30m`."""
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % _UNITS_MS[unit] == 0:
            return f"{milliseconds // _UNITS_MS[unit]}{unit}"
    return f"{milliseconds}ms"


def _parse_split_size(value: Any) -> int | float:
    if isinstance(value, str) and re.fullmatch(r"0?\.[0-9]+", value.strip()):
        value = float(value)
    if isinstance(value, float):
        if not 0 < value < 1:
            raise ValueError(f"a fraction must lie between 0 and 1, not {value}; a duration needs a unit, such as '7d'")
        return value
    milliseconds = parse_duration(value)
    if milliseconds == 0:
        raise ValueError("a split of length 0 holds nothing; write a duration such as '7d' or a fraction such as 0.1")
    return milliseconds


_DURATION_SCHEMA = {"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"type": "integer", "minimum": 0}]}
_SPLIT_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {"type": "integer", "minimum": 1},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    ]
}

Duration = Annotated[
    int, BeforeValidator(parse_duration), PlainSerializer(format_duration, when_used="json"), WithJsonSchema(_DURATION_SCHEMA)
]
"""Milliseconds; written as `30m`, `7d`, or a whole number of milliseconds."""

SplitSize = Annotated[
    int | float,
    BeforeValidator(_parse_split_size),
    PlainSerializer(lambda size: size if isinstance(size, float) else format_duration(size), when_used="json"),
    WithJsonSchema(_SPLIT_SCHEMA),
]
"""A duration (milliseconds, an int) or a share of the sessions (a float in (0, 1))."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")]
"""A name that can stand in a path: letters, digits, `_` and `-`."""

Fraction = Annotated[float, Field(ge=0, lt=1)]
