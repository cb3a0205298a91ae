"""Puts the rule graph, as Snakemake draws it in Mermaid but for arrows that a longer way implies, into README.md; a test compares them."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_ARROW = re.compile(r"\s*(\w+) --> (\w+)")
_BLOCK = re.compile(r"(<!-- rule graph -->\n```mermaid\n)(.*?)(```\n)", re.DOTALL)


def drawn() -> str:
    """The graph of the shipped configuration, without the styles that differ between runs."""
    snakemake = Path(sys.executable).with_name("snakemake")
    done = subprocess.run(
        [str(snakemake), "--rulegraph", "mermaid-js", "--forceall"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    lines = done.stdout[done.stdout.index("flowchart") :].splitlines()
    kept = [line.rstrip() for line in lines if line.strip() and not re.match(r"\s*(style|classDef|class|linkStyle)\b", line)]
    # A run that combines others waits for jobs of its own rule: such an arrow is drawn as it is.
    arrows = {match.groups() for line in kept if (match := _ARROW.match(line)) and match[1] != match[2]}
    implied = arrows - needed(arrows)
    kept = [line for line in kept if not (match := _ARROW.match(line)) or match.groups() not in implied]
    return "\n".join(["flowchart TB", *sorted(kept[1:], key=lambda line: ("-->" in line, _natural(line)))]) + "\n"


def needed(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows of a graph without cycles whose ends no longer way joins."""
    after: dict[str, set[str]] = {}
    for begin, end in arrows:
        after.setdefault(begin, set()).add(end)

    @cache
    def behind(rule: str) -> frozenset[str]:
        return frozenset(after.get(rule, ())).union(*(behind(end) for end in after.get(rule, ())))

    return {(begin, end) for begin, end in arrows if not any(end in behind(other) for other in after[begin])}


def _natural(line: str) -> list[object]:
    return [int(token) if token.isdigit() else 0 for token in re.split(r"(\d+)", line)]


def section(readme: str) -> str:
    """The graph that a README shows."""
    return _BLOCK.search(readme)[2]


if __name__ == "__main__":
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(_BLOCK.sub(lambda match: match[1] + drawn() + match[3], text), encoding="utf-8")
