"""The table of docs/mistakes.md, and the comparison of its texts with what the program prints."""

import re
from pathlib import Path

TABLE = Path(__file__).resolve().parents[1] / "docs" / "mistakes.md"


def documented(*sections: str) -> dict[str, str]:
    """The texts of the given sections by mistake."""
    texts = {}
    for section in re.split(r"(?m)^## ", TABLE.read_text(encoding="utf-8"))[1:]:
        title, _, body = section.partition("\n")
        if title.strip() not in sections:
            continue
        for line in body.splitlines():
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)]
            if len(cells) == 5 and cells[2].startswith("`"):
                texts[cells[1]] = cells[2].strip("`").strip()
    return texts


def says(printed: str, text: str) -> bool:
    """Whether a printed line is the documented text, in which `…` stands for anything."""
    pattern = ".+?".join(map(re.escape, text.split("…")))
    return any(re.fullmatch(pattern, line) for line in printed.splitlines())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
