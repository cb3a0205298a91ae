"""What a stage's code is: a digest of every module it imports, however deep, so that an edit reruns what it changes and nothing else."""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""
EXTENSION = "rust_sessionizer"


@cache
def _module_path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


class _Module(NamedTuple):
    """What is kept of a module's syntax tree."""

    imported: frozenset[str]
    digest: str


@cache
def _read(path: Path) -> _Module:
    """Every absolute name that a module may import, wherever the import stands, those for type checkers only left out; and its digest."""
    imported: set[str] = set()
    # The syntax tree has no comments and no layout, and docstrings are taken out: editing those reruns nothing.
    content = _content(ast.parse(path.read_text(encoding="utf-8")), imported)
    return _Module(frozenset(imported), hashlib.sha256(json.dumps(content).encode()).hexdigest())


def _content(node: Any, imported: set[str]) -> Any:
    """A syntax tree as nested lists, without the texts that stand by themselves; the names it imports are added to `imported`."""
    if isinstance(node, list):
        return [_content(one, imported) for one in node if not _is_text(one)]
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Import):
        imported.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        imported.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
    elif _type_checking(node):
        imported = set()
    return [type(node).__name__, *[_content(getattr(node, field, None), imported) for field in node._fields]]


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def closure(*modules: str) -> frozenset[str]:
    """The modules of this package that the given ones import, themselves and parent packages included."""
    found: set[str] = set()
    open_ = list(modules)
    while open_:
        module = open_.pop()
        path = _module_path(module)
        if module in found or path is None or not module.startswith("recsys"):
            continue
        found.add(module)
        parts = module.split(".")
        open_ += [".".join(parts[:depth]) for depth in range(1, len(parts))]
        open_ += _read(path).imported
    return frozenset(found)


@cache
def third_party(*modules: str) -> frozenset[str]:
    """Top-level names outside this package that the closure of the given modules imports."""
    names = {name.split(".")[0] for module in closure(*modules) for name in _read(_module_path(module)).imported}
    return frozenset(names - {"recsys"})


@cache
def extension_digest() -> str:
    """SHA-256 (hex) of the Rust extension's sources."""
    folder = ROOT / EXTENSION
    digest = hashlib.sha256()
    suffixes = {".rs", ".toml", ".lock", ".py"}
    for path in sorted(path for path in folder.rglob("*") if path.suffix in suffixes):
        relative = path.relative_to(folder).as_posix()
        if relative.startswith("target/") or "/tests/" in relative or "/benches/" in relative:
            continue
        digest.update(relative.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def stage_modules(stage: str, families: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Where a stage's code begins: its command, and the modules of the model families it loads by name."""
    from recsys.models.registry import FAMILIES

    also = ("recsys.cli.serve",) if stage == "smoke" else ()  # which it runs
    return (f"recsys.cli.{stage}", *also, "recsys.errors", "recsys.processes", *(FAMILIES[family][0] for family in families))


def code_digest(stage: str, families: tuple[str, ...] = ()) -> str:
    """SHA-256 (hex) of a stage's code: its modules, and the Rust extension where one of them uses it."""
    modules = stage_modules(stage, families)
    parts = {module: _read(_module_path(module)).digest for module in closure(*modules)}
    if EXTENSION in third_party(*modules):
        parts[EXTENSION] = extension_digest()
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
