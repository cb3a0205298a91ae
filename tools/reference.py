"""Writes docs/configuration.md: every key of the configuration, from the typed configuration; a test fails while it is another.

`make docs` runs it. The words of a type come from its JSON Schema, the meaning from the attribute's docstring in recsys/settings.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recsys.config import json_schema  # noqa: E402
from recsys.settings.base import Duration, Name, SplitSize  # noqa: E402
from recsys.settings.layout import Paths  # noqa: E402

PAGE = ROOT / "docs" / "configuration.md"
INTRODUCTION = """\
# Configuration

Every key, from the typed configuration ([recsys/config.py](../recsys/config.py), [recsys/settings/](../recsys/settings/)); written by
`make docs`, so do not edit it by hand.

- The configuration is `workflow_config.yaml`, or the files given with `--configfile`; single keys can be set with `--config`, such as
  `--config 'split={test: 3d}'`. What is not written has its default.
- It says *what* is done. Threads, memory and cluster settings belong in a profile ([profiles/default/](../profiles/default/)).
- A **duration** is a number and a unit, or several: `30m`, `1h30m`, `7d` (units `ms`, `s`, `m`, `h`, `d`, `w`); a bare whole number is
  milliseconds.
- Unknown keys and impossible values are refused before anything runs, in one sentence with the key, the value and the fix.
- Editors that know JSON Schema complete and check the keys with
  [schemas/configuration.schema.json](../schemas/configuration.schema.json).
- A changed key reruns the stages that are given it, and what follows them; `snakemake -n` lists them beforehand.

"""


def _schema_of(kind: Any) -> dict[str, Any]:
    return TypeAdapter(kind).json_schema()


KNOWN = (
    (_schema_of(Duration), "a duration"),
    (_schema_of(SplitSize), "a duration, or a share between 0 and 1"),
    (_schema_of(Paths), "a path or pattern, or a list of them"),
    (_schema_of(Name), "a name: letters, digits, `_` and `-`, at most 60"),
)
"""Types of this configuration that have words of their own."""
ASIDE = ("default", "description", "title")
"""What of a schema says nothing about its type."""


def _bounds(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f", {low:,} to {high:,}"
    parts = [
        f"{text} {bound:,}"
        for text, bound in (("at least", low), ("more than", above), ("at most", high), ("less than", below))
        if bound is not None
    ]
    return f", {' and '.join(parts)}" if parts else ""


def _coded(value: Any) -> str:
    """A value as it is written in YAML's flow style."""
    return f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value, ensure_ascii=False)}`"


def words(schema: dict[str, Any]) -> str:
    """A type in words."""
    plain = {key: value for key, value in schema.items() if key not in ASIDE}
    for known, said in KNOWN:
        if plain == {key: value for key, value in known.items() if key not in ASIDE}:
            return said
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        some = [choice for choice in choices if choice.get("type") != "null"]
        said = words({"anyOf": some}) if len(some) > 1 and len(some) < len(choices) else " or ".join(words(choice) for choice in some)
        return said if len(some) == len(choices) else f"{said}, or `null`"
    if "enum" in schema:
        return f"one of {', '.join(_coded(value) for value in schema['enum'])}"
    if "const" in schema:
        return _coded(schema["const"])
    if "$ref" in schema:
        return "a section"
    match schema.get("type"):
        case "integer":
            return "a whole number" + _bounds(schema)
        case "number":
            return "a number" + _bounds(schema)
        case "boolean":
            return "`true` or `false`"
        case "string":
            return "one character" if schema.get("maxLength") == 1 else "a text"
        case "array":
            least = f", {schema['minItems']} at least" if schema.get("minItems") else ""
            return f"a list of {_plural(words(schema.get('items', {})))}{least}"
        case "object":
            names = schema.get("propertyNames", {})
            keys = f" from {', '.join(_coded(value) for value in names['enum'])}" if "enum" in names else ""
            held = _held(schema)
            return f"a mapping{keys}" + (f" to {_plural(words(held))}" if held else "")
    return "any value"


def _plural(said: str) -> str:
    return re.sub(r"^an? (section|text|name|duration|whole number|number)", r"\1s", said)


def _targets(schema: dict[str, Any]) -> list[str]:
    """Names of the sections that a key holds: itself, one of several, or each value of a mapping."""
    if "$ref" in schema:
        return [schema["$ref"].rpartition("/")[2]]
    found = [name for choice in schema.get("anyOf", schema.get("oneOf", [])) for name in _targets(choice)]
    held = _held(schema)
    return found or (_targets(held) if held else [])


def _held(schema: dict[str, Any]) -> dict[str, Any] | None:
    """What a mapping's values are; None where the schema is none."""
    patterns = schema.get("patternProperties")
    held = next(iter(patterns.values())) if patterns else schema.get("additionalProperties")
    return held if isinstance(held, dict) and held else None


def slug(heading: str) -> str:
    """The anchor that a heading gets on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _joined(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    # Docstrings speak Python; the configuration is YAML.
    return re.sub(r"\bNone\b", "`null`", _joined(text)).replace("|", "\\|")


class Page:
    """The reference, section by section."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.definitions = schema["$defs"]
        self.schema = schema

    def text(self) -> str:
        """The whole page."""
        return INTRODUCTION + "\n".join(self._section("The sections", "", self.schema, {}, 2, ""))

    def _heading(self, path: str, name: str, several: bool, inside: str) -> str:
        """The heading of a section: its path, and the type it belongs to, where there are several."""
        kind = self.definitions[name]["properties"].get("type", {}) if several else {}
        of = kind.get("const") or inside
        return f"`{path}`" + (f" (type `{of}`)" if of else "")

    def _section(
        self, heading: str, path: str, definition: dict[str, Any], defaults: dict[str, Any], level: int, inside: str
    ) -> Iterator[str]:
        """A heading, what the section is, its keys, and then the sections it holds."""
        yield f"{'#' * level} {heading}\n"
        if path and definition.get("description"):
            yield f"{_joined(definition['description'])}\n"
        rows, below = [], []
        for key, schema in definition.get("properties", {}).items():
            own = f"{path}.{key}" if path else key
            mapped = _held(schema) is not None
            targets = _targets(schema)
            nested = f"{own}.NAME" if mapped else own
            given = defaults.get(key, schema.get("default"))
            headings = []
            for name in targets:
                title = self._heading(nested, name, len(targets) > 1, inside)
                headings.append(f"[{title}](#{slug(title)})")
                held = given if isinstance(given, dict) and not mapped else {}
                constant = self.definitions[name]["properties"].get("type", {}).get("const", "")
                within = constant if len(targets) > 1 else inside
                below.append((title, nested, self.definitions[name], held if constant in ("", held.get("type")) else {}, within))
            needed = key in definition.get("required", []) and key not in defaults
            optional = any(choice.get("type") == "null" for choice in schema.get("anyOf", []))
            if targets:
                takes = ("a mapping of names to " if mapped else "") + " or ".join(headings) + (", or `null`" if optional else "")
                default = "needed" if needed else "`null`" if optional and given is None else _coded(given) if mapped else "as below"
            else:
                takes, default = words(schema), "needed" if needed else _coded(given)
            told = schema.get("description") or " ".join(self.definitions[name].get("description", "") for name in targets[:1])
            told = told or ("The kind; it decides which other keys there are." if "const" in schema else "")
            rows.append(f"| `{key}` | {_cell(takes)} | {_cell(default)} | {_cell(told)} |")
        if rows:
            yield "| key | takes | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
        for title, nested, inner, held, within in below:
            yield from self._section(title, nested, inner, held, 2 if not path else min(level + 1, 4), within)


def page() -> str:
    """The content of docs/configuration.md."""
    return Page(json_schema()).text()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
