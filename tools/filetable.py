"""Puts a line a file, the first of its docstring, into docs/architecture.md; a test fails while the table there is another."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARK = "<!-- files -->\n"


def _first_line(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        said = ast.get_docstring(ast.parse(text)) or ""
    elif path.suffix == ".rs":
        said = "\n".join(re.findall(r"(?m)^//! ?(.*)$", text))
    else:
        found = re.match(r'"""(.*?)"""', text, re.DOTALL)
        said = found[1] if found else ""
    paragraph = said.strip().split("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=\.) (?=[A-Z`])", paragraph)[0].rstrip(".")


def table() -> str:
    """The table of every source file."""
    files = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk")), *sorted((ROOT / "recsys").rglob("*.py"))]
    files += (
        sorted((ROOT / "rust_sessionizer").glob("*/src/**/*.rs"))
        + sorted((ROOT / "tools").glob("*.py"))
        + sorted((ROOT / "benchmarks").glob("*.py"))
    )
    rows = [(path.relative_to(ROOT).as_posix(), _first_line(path)) for path in files]
    return "| file | what it is |\n|---|---|\n" + "".join(f"| `{name}` | {said} |\n" for name, said in rows if said)


if __name__ == "__main__":
    path = ROOT / "docs" / "architecture.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index(MARK) + len(MARK)] + table(), encoding="utf-8")
