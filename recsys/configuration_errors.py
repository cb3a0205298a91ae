"""What is wrong with a configuration, as one sentence: the key, the value and the fix, in this project's words."""

import difflib
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

_KINDS = {
    "string": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "`key: value` lines below it",
    "model": "`key: value` lines below it",
}
"""What pydantic calls a type, at the start of an error's name, to what a user writes."""

_MEMBERS = {"str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false"}
"""What pydantic calls a member of a union, at the end of an error's place, to what a user writes."""

_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "no less than"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "no more than"),
}

_MEANINGS = {
    "s": ("seconds", "secs"),
    "ms": ("milliseconds", "msecs"),
    "us": ("microseconds", "usecs", "µs"),
    "ns": ("nanoseconds", "nsecs"),
}
"""What an abbreviation among the choices is short for; a word that begins so means it."""

Place = tuple[int | str, ...]


def sentence(error: ValidationError, prefix: str, model: type[BaseModel]) -> str:
    """The first thing that is wrong, as one sentence.

    Parameters
    ----------
    error
        What pydantic found.
    prefix
        The key under which `model` stands; empty for the whole configuration.
    model
        The section that was read.
    """
    found = error.errors()
    first = _likeliest(found, model)
    place = _place(first["loc"], model)
    alternatives = [_MEMBERS[str(other["loc"][-1])] for other in found if _is_alternative(other, first)]
    if alternatives:
        place = place[:-1]
    key = _key(prefix, place)
    if first["type"] == "value_error":
        text = str(first["ctx"]["error"])
        return text if text.startswith(("runs.", "runs holds")) or not place else f"{key}: {text}"
    if alternatives:
        return f"{key}: {_shown(first['input'])} cannot be used; write {' or '.join(dict.fromkeys(alternatives))}"
    return f"{key}: {_problem(first, place, model)}"


def _likeliest(found: list[dict[str, Any]], model: type[BaseModel]) -> dict[str, Any]:
    """The first error; but a key that looks like a missing one is the cause, and the missing one the effect."""
    first = found[0]
    if first["type"] != "missing":
        return first
    for other in found:
        if other["type"] == "extra_forbidden" and other["loc"][:-1] == first["loc"][:-1] and _near(other["loc"], model):
            return other
    return first


def _is_alternative(error: dict[str, Any], first: dict[str, Any]) -> bool:
    """Whether the error is one of several at one key, each of which says what else could stand there."""
    place = error["loc"]
    return bool(place) and place[-1] in _MEMBERS and place[:-1] == first["loc"][:-1] and error["input"] is first["input"]


def _place(location: Place, model: type[BaseModel]) -> Place:
    """The steps that a user wrote: without the tag of a union's member, and the word for a mapping's key, which are pydantic's own."""
    kept: list[int | str] = []
    section: Any = model
    for step in location:
        if step == "[key]":
            continue
        members = _models_in(section)
        if not _is_model(section) and len(members) > 1 and any(step in _tags(member) for member in members):
            section = next(member for member in members if step in _tags(member))
            continue
        section = _below(section, step)
        kept.append(step)
    return tuple(kept)


def _key(prefix: str, place: Place) -> str:
    """`runs.gru.parameters.layers[0]`."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return f"{prefix}{steps}".lstrip(".") or "the configuration"


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """The values of `type` that a member of a union stands for."""
    return get_args(model.model_fields["type"].annotation) if "type" in model.model_fields else ()


def _below(section: Any, step: int | str) -> Any:
    """What stands below a step: a field's annotation, or what a list or a mapping holds."""
    if _is_model(section):
        return section.model_fields[step].annotation if step in section.model_fields else None
    if get_origin(section) is Annotated:
        return _below(get_args(section)[0], step)
    if get_origin(section) in (Union, UnionType):
        found = (_below(member, step) for member in get_args(section) if member is not NoneType)
        return next((below for below in found if below is not None), None)
    return get_args(section)[-1] if isinstance(step, int) == (get_origin(section) is list) and get_args(section) else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if _is_model(annotation):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _known_keys(location: Place, model: type[BaseModel]) -> list[str]:
    """The keys that may stand where the last step of `location` does."""
    section: Any = model
    for step in location[:-1]:
        tagged = [member for member in _models_in(section) if step in _tags(member)]
        section = tagged[0] if tagged and not _is_model(section) else _below(section, step)
    return list(dict.fromkeys(field for member in _models_in(section) for field in member.model_fields))


def _near(location: Place, model: type[BaseModel]) -> str | None:
    return nearest(str(location[-1]), _known_keys(location, model))


def nearest(word: str, known: list[str]) -> str | None:
    """The known word that was probably meant."""
    found = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    return found[0] if found else None


def _meant(word: str, choices: list[str]) -> str | None:
    """The choice that a word stands for: one that begins so, one that is short for it, or the nearest in spelling."""
    word = word.lower()
    if word in choices:
        return word
    begun = [choice for choice in choices if any(name.startswith(word) for name in (choice, *_MEANINGS.get(choice, ())))]
    if len(begun) == 1:
        return begun[0]
    # Abbreviations are so short that any word would be near them.
    return nearest(word, [choice for choice in choices if choice not in _MEANINGS])


def _or(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "nothing"
    if isinstance(value, dict | list) and len(repr(value)) >= 60:
        return "a list" if isinstance(value, list) else "a section"
    return repr(value)


def _problem(first: dict[str, Any], place: Place, model: type[BaseModel]) -> str:
    kind, value, context = first["type"], first.get("input"), first.get("ctx", {})
    shown = _shown(value)
    if kind == "extra_forbidden":
        near, known = _near(first["loc"], model), _known_keys(first["loc"], model)
        return "there is no such key; " + (f"did you mean {near!r}?" if near else f"the keys here are {', '.join(known)}")
    if kind == "missing":
        return "this key is missing; add it"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tags = [tag.strip().strip("'") for tag in str(context.get("expected_tags", "")).split(",") if tag.strip()]
        tags = tags or [str(tag) for member in _models_in(_annotation(place, model)) for tag in _tags(member)]
        named = value.get("type") if isinstance(value, dict) else value
        if kind == "union_tag_not_found" or named is None:
            return f"'type' is missing; write {_or([f'`type: {tag}`' for tag in tags])}"
        near = nearest(str(named), tags)
        meant = f"did you mean {near!r}? " if near else ""
        return f"there is no {place[-1]} {named!r}; {meant}{'The' if meant else 'the'} {place[-1]}s are {', '.join(map(repr, tags))}"
    if kind == "literal_error":
        words = [word.strip("' ") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
        near = _meant(str(value), words)
        meant = f"; did you mean {near!r}?" if near else f"; write {_or(words)}"
        if first["loc"][-1] == "[key]":
            return "there is no such key" + (meant if near else f"; the keys here are {', '.join(words)}")
        return f"{shown} cannot be used{meant}" + (f" (it can be {_or(words)})" if near else "")
    if kind == "string_pattern_mismatch":
        return f"{shown} is no name; write letters, digits, _ and -, at most 60, with a letter or digit first"
    if kind == "string_too_short" or (kind == "string_too_long" and context.get("max_length") == 1):
        return f"{shown} cannot be used; write a single character" if context.get("max_length", 1) == 1 else f"{shown} is too short"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{shown} cannot be used; write a number {words} {context[name]}"
    if kind == "too_short":
        return f"it is empty; write {context['min_length']} at least"
    if kind == "too_long":
        return f"{shown} is too many; write {context['max_length']} at most"
    if kind in ("int_from_float", "int_parsing_size"):
        return f"{shown} cannot be used; write a whole number"
    if kind == "finite_number":
        return f"{shown} cannot be used; write a finite number"
    wanted = _KINDS.get(kind.split("_")[0])
    if wanted is not None and value is None:
        return f"nothing stands there; write {wanted}, or remove the key"
    if wanted is not None:
        example = ""
        if wanted == "a text" and isinstance(value, int | float):
            example = f" in quotes, such as '{value}'"
        if wanted == "a list" and isinstance(value, str | int | float):
            example = f", such as {[value]}"
        return f"{shown} cannot be used; write {wanted}{example}"
    return f"{shown} cannot be used: {first['msg'][0].lower()}{first['msg'][1:]}"


def _annotation(place: Place, model: type[BaseModel]) -> Any:
    section: Any = model
    for step in place:
        section = _below(section, step)
    return section
