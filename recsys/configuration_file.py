"""A configuration file as a plain mapping: what is no YAML, and a key that stands twice, is told with its line."""

from pathlib import Path
from typing import Any

import yaml

from recsys.errors import ConfigurationError

_HINTS = {
    "\\t": "indent with blanks, not with tabs",
    "mapping values are not allowed": "put a text that holds a colon in quotes, and end every bracket of the line above",
    "',' or '}'": "close the bracket { with }, or put a comma before this place",
    "',' or ']'": "close the bracket [ with ], or put a comma before this place",
    "quoted scalar": "close the quotation mark",
    "block end": "give the keys of one section the same indentation",
    "expected ':'": "put a colon and a blank behind the key",
}
_ANY_HINT = "look at this line and the one above for indentation, colons, quotation marks and brackets"


def read_configuration(path: Path) -> dict[str, Any]:
    """The mapping that a YAML (or JSON) file holds.

    Raises
    ------
    ConfigurationError
        Naming the file and, where the text is at fault, the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"there is no configuration file {path} (looked for it from {Path.cwd()}); correct the path") from None
    except IsADirectoryError:
        raise ConfigurationError(f"{path} is a folder; name the configuration file in it") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}, line {line}: the text is not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}); make it readable") from None
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if isinstance(tree, yaml.MappingNode):
            _refuse_repeated_keys(path, tree, "", set())
            return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = f"{error.context or ''} {error.problem or ''}"
        hint = next((hint for sign, hint in _HINTS.items() if sign in told), _ANY_HINT)
        raise ConfigurationError(f"{path}, line {mark.line + 1}, column {mark.column + 1}: this is not YAML; {hint}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML ({str(error).splitlines()[0]}); save it as plain text in UTF-8") from None
    what = "is empty" if tree is None else "holds no keys at its top level"
    raise ConfigurationError(f"{path} {what}; write `key: value` lines, and `runs:` at least (see README.md)")


def _refuse_repeated_keys(path: Path, node: yaml.Node, place: str, seen: set[int]) -> None:
    """YAML's readers keep the last of two equal keys and drop the first, with all that stands below it."""
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(path, item, place, seen)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
            continue
        name, line = f"{place}{key.value}", key.start_mark.line + 1
        if key.value in lines:
            fix = "give each run a name of its own" if place == "runs." else "remove one of them, or give it another name"
            raise ConfigurationError(f"{path}, line {line}: {name} stands in line {lines[key.value]} already; {fix}")
        lines[key.value] = line
        _refuse_repeated_keys(path, value, f"{name}.", seen)
