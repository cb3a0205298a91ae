"""Puts the rule graph, as Snakemake draws it in Mermaid, into README.md; a test fails while the picture there is another."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"(<!-- rule graph -->\n```mermaid\n)(.*?)(```\n)", re.DOTALL)


def drawn() -> str:
    """The graph of the shipped configuration, without the styles that differ between runs."""
    snakemake = Path(sys.executable).with_name("snakemake")
    done = subprocess.run(
        [str(snakemake), "--rulegraph", "mermaid-js", "--forceall"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    lines = done.stdout[done.stdout.index("flowchart") :].splitlines()
    kept = [line.rstrip() for line in lines if line.strip() and not re.match(r"\s*(style|classDef|class|linkStyle)\b", line)]
    return "\n".join(["flowchart TB", *sorted(kept[1:], key=lambda line: ("-->" in line, _natural(line)))]) + "\n"


def _natural(line: str) -> list[object]:
    return [int(token) if token.isdigit() else 0 for token in re.split(r"(\d+)", line)]


def section(readme: str) -> str:
    """The graph that a README shows."""
    return _BLOCK.search(readme)[2]


if __name__ == "__main__":
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(_BLOCK.sub(lambda match: match[1] + drawn() + match[3], text), encoding="utf-8")
