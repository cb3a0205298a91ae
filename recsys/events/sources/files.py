"""A shop's own log: CSV, TSV, Parquet or JSON lines, as one lazy table with the file's own columns."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.errors import ConfigurationError, DataError
from recsys.events.sources.damage import WHAT, refuse_other_formats, require_columns, why_unreadable
from recsys.settings.layout import Layout

ROW = "__row"
SURPLUS = "__surplus"
LINE = "line"
HEAD_ROWS = 10_000
"""Rows that types are inferred from."""

_FORMATS = {"csv": "csv", "tsv": "tsv", "parquet": "parquet", "pq": "parquet", "jsonl": "jsonl", "ndjson": "jsonl"}
_SEPARATORS = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True)
class RawFile:
    """A file that has been opened, not yet read.

    Attributes
    ----------
    path : Path
    table : pl.LazyFrame
        `__row` (counted from 1), the needed columns as the file has them (text, where the format has no types), `__surplus` (CSV and TSV: a
        field too many, else null) or `line` (JSON lines: the whole line).
    schema : dict
        Type of each needed column in `table`.
    inferred : dict
        What the needed columns look like, by the file's first rows; the same as `schema` for Parquet.
    format : str
        csv, tsv, parquet or jsonl.
    """

    path: Path
    table: pl.LazyFrame
    schema: dict[str, pl.DataType]
    inferred: dict[str, pl.DataType]
    format: str


@contextmanager
def reading(path: Path, kind: str, key: str = "source") -> Iterator[None]:
    """Turns what goes wrong while `path` is read into a `DataError` that names the file and the fix; `key` is where its layout stands."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; check {key}.paths") from None
    except pl.exceptions.NoDataError:
        raise DataError(f"{path} is empty; remove it or fetch it again") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read as {WHAT[kind]}: {why_unreadable(path, kind, str(error), key)}") from None


def open_raw(path: Path, source: Layout, needed: list[str | int], predicate_columns: list[str]) -> RawFile:
    """Open a raw file.

    Parameters
    ----------
    path : Path
    source : Layout
    needed : list of str or int
        Columns to be read: names, or positions in files without a header.
    predicate_columns : list of str
        Further columns, those that `where` names.

    Raises
    ------
    DataError
        If the file is missing, empty, damaged, or lacks a column.
    ConfigurationError
        If the file's name does not tell its format and `format` does not either.
    """
    kind = file_format(path, source)
    with reading(path, kind, source.key):
        if path.is_dir():
            raise DataError(f"{path} is a folder; name the files in it in {source.key}.paths, such as {path}/*")
        if not path.is_file():
            raise FileNotFoundError(path)
        if path.stat().st_size == 0:
            raise pl.exceptions.NoDataError
        if kind == "parquet":
            return _open_parquet(path, source, needed, predicate_columns)
        refuse_other_formats(path, kind, source.key)
        if kind == "jsonl":
            return _open_json_lines(path, source, needed, predicate_columns)
        return _open_delimited(path, kind, source, needed, predicate_columns)


def column_name(column: str | int) -> str:
    """The name a column goes by: its own, or `column_2` for position 2 of a file without a header."""
    return column if isinstance(column, str) else f"column_{column}"


def file_format(path: Path, source: Layout) -> str:
    """csv, tsv, parquet or jsonl, as configured or by the file's name."""
    if source.format != "auto":
        return source.format
    suffixes = [suffix.lower().lstrip(".") for suffix in path.suffixes]
    ending = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == "gz" else (suffixes[-1] if suffixes else "")
    if ending not in _FORMATS:
        raise ConfigurationError(f"{path}: the name does not tell the file's format; set {source.key}.format to csv, tsv, parquet or jsonl")
    return _FORMATS[ending]


def _check_columns(
    path: Path, source: Layout, needed: list[str | int], predicate_columns: list[str], known: list[str], separator: str | None = None
) -> list[str]:
    fields = {column_name(column): f".{field}" for field, column in source.columns if isinstance(column, str | int)}
    names = {column_name(column): f"{source.key}.columns{fields.get(column_name(column), '')}" for column in needed}
    names = dict.fromkeys(predicate_columns, f"{source.key}.where") | names
    require_columns(path, names, known, separator, f"{source.key}.separator")
    return list(dict.fromkeys([*map(column_name, needed), *predicate_columns]))


def _no_rows(path: Path) -> DataError:
    return DataError(f"{path} holds no rows; remove it or fetch it again")


def _open_parquet(path: Path, source: Layout, needed: list[str | int], predicate_columns: list[str]) -> RawFile:
    table = pl.scan_parquet(path, glob=False, row_index_name=ROW, row_index_offset=1)
    schema = dict(table.collect_schema())
    del schema[ROW]
    names = _check_columns(path, source, needed, predicate_columns, list(schema))
    if not table.select(ROW).head(1).collect().height:
        raise _no_rows(path)
    types = {name: schema[name] for name in names}
    return RawFile(path, table.select(ROW, *names), types, types, "parquet")


def _open_delimited(path: Path, kind: str, source: Layout, needed: list[str | int], predicate_columns: list[str]) -> RawFile:
    # Fields beyond the columns land in one extra column, so that such rows can be told apart.
    options = {
        "separator": source.separator or _SEPARATORS[kind],
        "has_header": source.header,
        "quote_char": '"' if source.quoted else None,
        "truncate_ragged_lines": True,
        "glob": False,
    }
    head = pl.scan_csv(path, infer_schema_length=HEAD_ROWS, **options).head(HEAD_ROWS).collect_schema()
    found = list(head)
    known = found if source.header else [f"column_{position}" for position in range(len(found))]
    names = _check_columns(path, source, needed, predicate_columns, known, options["separator"] if source.header else None)
    text = dict.fromkeys([*found, SURPLUS], pl.String)
    table = pl.scan_csv(path, schema=text, missing_columns="insert", row_index_name=ROW, row_index_offset=1, **options)
    if not source.header:
        table = table.rename(dict(zip(found, known, strict=True)))
    if not table.select(ROW).head(1).collect().height:
        raise _no_rows(path)
    inferred = dict(zip(known, head.values(), strict=True))
    return RawFile(
        path,
        table.select(ROW, *names, SURPLUS),
        {name: pl.String() for name in names},
        {name: inferred[name] for name in names},
        kind,
    )


def _open_json_lines(path: Path, source: Layout, needed: list[str | int], predicate_columns: list[str]) -> RawFile:
    lines = pl.scan_lines(path, name=LINE, glob=False, row_index_name=ROW, row_index_offset=1).filter(pl.col(LINE).str.contains(r"\S"))
    head = lines.head(HEAD_ROWS).collect()[LINE]
    if not len(head):
        raise _no_rows(path)
    sound = head.filter(head.str.json_path_match("$").is_not_null() & head.str.contains(r"^\s*\{"))
    if not len(sound):
        raise DataError(
            f"{path} cannot be read as JSON lines: none of the first {len(head)} lines is a JSON object; check {source.key}.format"
        )
    inferred = _json_types(sound)
    names = _check_columns(path, source, needed, predicate_columns, list(inferred))
    fields = [pl.col(LINE).str.json_path_match(_json_path(name)).alias(name) for name in names if name != LINE]
    if LINE in names:
        # The file's own field of that name comes first in importance; the whole line is then left out.
        fields.append(pl.col(LINE).str.json_path_match(_json_path(LINE)).alias(LINE))
    malformed = pl.col(LINE).str.json_path_match("$").is_null() | ~pl.col(LINE).str.contains(r"^\s*\{")
    table = lines.with_columns(*fields, malformed.alias(SURPLUS))
    kept = [ROW, *dict.fromkeys([*names, LINE]), SURPLUS]
    return RawFile(path, table.select(kept), {name: pl.String() for name in names}, {name: inferred[name] for name in names}, "jsonl")


def _json_path(key: str) -> str:
    return "$['" + key.replace("\\", "\\\\").replace("'", "\\'") + "']"


def _json_types(lines: pl.Series) -> dict[str, pl.DataType]:
    import io

    text = "\n".join(lines.to_list()).encode()
    try:
        return dict(pl.read_ndjson(io.BytesIO(text), infer_schema_length=None).schema)
    except pl.exceptions.PolarsError:
        # A field that is a number here and a text there: everything is taken as text then.
        import json

        return dict.fromkeys(dict.fromkeys(key for line in lines for key in json.loads(line)), pl.String())
