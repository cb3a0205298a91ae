"""How a shop's files are written: format, columns, times, and which rows are wanted."""

from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from recsys.settings.base import Section


class Timestamps(Section):
    """How the timestamp column is to be read: a number in `unit`, or a text in `format`."""

    unit: Literal["s", "ms", "us", "ns"] | None = None
    """Unit of a number since 1970-01-01 UTC, whole or with decimals."""
    format: str | None = None
    """A strftime format such as `%Y-%m-%d %H:%M:%S`, or `iso` for ISO 8601."""
    timezone: str = "UTC"
    """The zone of times without an offset, such as `Europe/Berlin`."""

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, KeyError):
            raise ValueError(f"there is no time zone {name!r}; write UTC or a name such as 'Europe/Berlin'") from None
        return name

    @model_validator(mode="after")
    def _one_of_both(self) -> "Timestamps":
        if self.unit is not None and self.format is not None:
            raise ValueError("give either 'unit' (numbers) or 'format' (texts), not both")
        return self


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_PATHS_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
Paths = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1), WithJsonSchema(_PATHS_SCHEMA)]
"""One path, or a list of them."""


class UniqueColumns(Section):
    """Columns of a file, each of which has one use."""

    @model_validator(mode="after")
    def _one_use_each(self) -> "UniqueColumns":
        used: dict[str | int, str] = {}
        for field, column in self:
            if column is None:
                continue
            if column in used:
                raise ValueError(f"column {column!r} is mapped to both {used[column]!r} and {field!r}; give each its own column")
            used[column] = field
        return self


class Layout(Section):
    """What files of rows have in common; each kind of file adds its `columns`, a section of names or positions."""

    key: ClassVar[str] = "source"
    """Where the layout stands in the configuration, for messages."""

    format: Literal["auto", "csv", "tsv", "parquet", "jsonl"] = "auto"
    """The files' format; `auto` goes by the name (`.csv`, `.tsv`, `.parquet`, `.jsonl`, each also with `.gz`)."""
    header: bool = True
    """Whether the first line of CSV and TSV files names the columns."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """The separator, where it is neither the comma of CSV nor the tab of TSV."""
    quoted: bool = True
    """Whether fields of CSV and TSV files may stand in quotation marks; if not, a quotation mark is a sign as any other."""
    where: str | None = None
    """A Polars SQL expression over the file's own columns; rows for which it is not true are left out. In a file without a header
    the columns are called `column_0`, `column_1`, …"""

    @model_validator(mode="after")
    def _positions_without_header(self) -> "Layout":
        for field, column in getattr(self, "columns", ()):
            if isinstance(column, int) and self.header:
                raise ValueError(
                    f"columns.{field} is the position {column}, but the files have a header; name the column, or set header: false"
                )
        return self


class TimedLayout(Layout):
    """Files whose rows have times."""

    timestamps: Timestamps = Timestamps()
    """How times are written. Nothing given: a column of a time type is taken as it is, a number as milliseconds, a text as ISO 8601."""
