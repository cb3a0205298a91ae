"""What is wrong with a raw file that cannot be read as what it is said to be: another format, another encoding, cut off, no such column."""

import difflib
import gzip
import zlib
from pathlib import Path

from recsys.errors import DataError

WHAT = {"csv": "CSV", "tsv": "TSV", "parquet": "Parquet", "jsonl": "JSON lines"}
"""The formats, as they are called in sentences."""

_MAGIC = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a ZIP or Excel file",
    b"\x1f\x8b": "a gzip file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"BZh": "a bzip2 file",
    b"SQLite format 3": "an SQLite database",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
_WAY_OUT = {
    "a Parquet file": "set {key}.format to parquet",
    "a ZIP or Excel file": "unpack it, or save the table as CSV",
    "a zstd file": "unpack it, or pack it with gzip",
    "a bzip2 file": "unpack it, or pack it with gzip",
    "an SQLite database": "write its table to a CSV or Parquet file",
    "text in UTF-16": "save it as UTF-8",
}
_SEPARATORS = (";", "\t", "|", ",")
_SHOWN = 12
_DAMAGED = ("end of file", "out of specification", "corrupt", "deflate", "gzip", "thrift", "eof")


def _begins(path: Path, length: int = 16) -> bytes:
    """The first bytes of a file, unpacked where it is a gzip file; none where they cannot be unpacked."""
    with path.open("rb") as file:
        head = file.read(length)
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        with gzip.open(path) as packed:
            return packed.read(length)
    except (OSError, EOFError, zlib.error):
        return b""


def refuse_other_formats(path: Path, kind: str, key: str) -> None:
    """Stop where a text file's first bytes are those of something else.

    Raises
    ------
    DataError
        Naming what it is, and the way out.
    """
    head = _begins(path)
    for magic, name in _MAGIC.items():
        if head.startswith(magic) and name in _WAY_OUT:
            raise DataError(f"{path} is not {WHAT[kind]} but {name}; {_WAY_OUT[name].format(key=key)}")


def why_unreadable(path: Path, kind: str, message: str, key: str) -> str:
    """What a library's message about a file means, with the fix.

    Parameters
    ----------
    path
        The file.
    kind
        csv, tsv, parquet or jsonl.
    message
        What the library said.
    key
        Where the file's layout stands in the configuration.
    """
    first = message.strip().splitlines()[0].rstrip(".:") if message.strip() else "no reason given"
    sign = first.lower()
    if "utf-8" in sign or "utf8" in sign:
        line = _first_line_not_utf8(path)
        where = f"line {line[0]:,} holds {line[1]!r}, which is" if line is not None else "it holds bytes that are"
        return f"{where} no UTF-8; save the file as UTF-8"
    if kind == "parquet" and not _begins(path).startswith(b"PAR1"):
        return f"it does not begin as such a file does; fetch it again, or correct {key}.format"
    if any(word in sign for word in _DAMAGED):
        return f"it is cut off or damaged ({first}); fetch it again"
    if "could not parse" in sign:
        return "a quotation mark is opened and never closed; correct the file's quoting"
    return f"{first}; check {key}.format and {key}.separator"


def _first_line_not_utf8(path: Path) -> tuple[int, bytes] | None:
    """Number and neighbourhood of the first bytes that are no UTF-8; the lines are counted from 1, the header's included."""
    with path.open("rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    return number, line[max(0, error.start - _SHOWN) : error.end + _SHOWN].strip()
    except (OSError, EOFError, zlib.error):
        return None
    return None


def require_columns(path: Path, needed: dict[str, str], known: list[str], separator: str | None = None, separator_key: str = "") -> None:
    """Stop where a file lacks columns, or has one twice.

    Parameters
    ----------
    path
        The file.
    needed
        Columns by name, with the key of the configuration that names each.
    known
        The file's columns; a reader calls the second of two equal ones `NAME_duplicated_0`.
    separator, separator_key
        What the header was cut at, for files that have one, and the key that sets it.

    Raises
    ------
    DataError
        Naming the columns, the key of each, and what was probably meant.
    """
    for column in needed:
        if f"{column}_duplicated_0" in known:
            raise DataError(f"{path}: the header names the column {column!r} twice; give each column a name of its own")
    missing = {column: key for column, key in needed.items() if column not in known}
    if not missing:
        return
    other = next((sign for sign in _SEPARATORS if len(known) == 1 and sign != separator and sign in known[0]), None)
    if separator is not None and other is not None:
        raise DataError(f"{path}: the whole header is one column, {known[0]!r}; set {separator_key} to {other!r}")
    shown = ", ".join(known[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")
    meant = {column: _meant(column, known) for column in missing}
    if len(missing) == 1:
        ((column, key),) = missing.items()
        guess = f" ({meant[column]})" if meant[column] else ""
        raise DataError(f"{path}: there is no column {column!r}; the file has {shown}; correct {key}{guess}")
    *first, last = [f"{column!r} ({'; '.join(filter(None, (key, meant[column])))})" for column, key in missing.items()]
    raise DataError(f"{path}: there are no columns {', '.join(first)} and {last}; the file has {shown}; correct these keys")


def _meant(column: str, known: list[str]) -> str:
    """A question for the column that is nearest to a missing one; nothing where none is near."""
    same = [name for name in known if name.strip().lower() == column.strip().lower()]
    near = same or difflib.get_close_matches(column, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""
