"""A page of the report: one HTML file that needs nothing else, on a screen and in print."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from recsys.files import whole_file

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 "DejaVu Sans", Verdana, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 1.5rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .4rem; }
h2 { font-size: 1.1rem; margin: 0 0 .2rem; }
h3 { font-size: .9rem; margin: 0 0 .3rem; font-weight: 600; color: #444; }
p { margin: .3rem 0 .8rem; }
section { border-top: 1px solid #bbb; padding: 1rem 0 .6rem; break-inside: avoid; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; }
th { text-align: left; font-weight: 600; border-bottom: 1px solid #777; }
th, td { padding: .22rem .6rem .22rem 0; vertical-align: top; overflow-wrap: anywhere; }
tbody tr { border-bottom: 1px solid #ddd; }
td.number, th.number { width: 1%; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.quiet { color: #595959; font-size: .86rem; }
.columns { display: grid; grid-template-columns: 1fr 1fr; gap: 1.6rem; }
.columns > * { min-width: 0; }
tr.hit td { background: #d6e9f5; font-weight: 600; }
tr.later td { background: #f3efe3; }
.failed { color: #a33c00; font-weight: 600; }
@media (max-width: 44rem) { .columns { grid-template-columns: 1fr; } }
@media print {
  body { margin: 0; max-width: none; font-size: 10pt; }
  tr.hit td, tr.later td { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""


class Markup(str):
    """HTML that is not escaped again."""


def text(value: object) -> Markup:
    """Anything as HTML; what is `Markup` already stays as it is."""
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


def element(name: str, *content: object, style: str = "") -> Markup:
    """An element with its content, escaped, and its class."""
    inner = "".join(text(part) for part in content)
    return Markup(f'<{name} class="{escape(style)}">{inner}</{name}>' if style else f"<{name}>{inner}</{name}>")


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[str] = (), styles: Iterable[str] | None = None
) -> Markup:
    """A table.

    Parameters
    ----------
    columns
        Headings.
    rows
        Cells, in the order of the headings.
    numbers
        Headings of columns that are aligned to the right.
    styles
        A class a row.
    """
    classes = ["number" if column in numbers else "" for column in columns]
    rows = list(rows)
    head = element("tr", *(element("th", column, style=style) for column, style in zip(columns, classes, strict=True)))
    body = [
        element("tr", *(element("td", cell, style=style) for cell, style in zip(row, classes, strict=True)), style=own)
        for row, own in zip(rows, styles or [""] * len(rows), strict=True)
    ]
    return element("table", element("thead", head), element("tbody", *body))


def write_page(path: Path, title: str, *content: object) -> None:
    """Write a page whole or not at all."""
    body = "\n".join(text(part) for part in (element("h1", title), *content))
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
