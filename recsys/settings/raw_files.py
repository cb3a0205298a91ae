"""What a source tells the workflow: its raw files, each with what it holds, how it is laid out, and where it comes from.

Nothing behind this interface knows single sources: the workflow's parts, `recsys download`, `recsys ingest` and `recsys catalogue` are told
a file's place, its layout and its digest, and read whatever fits.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from recsys.settings.base import Section

RAW_FOLDER = "results/raw"
"""Where files are fetched to, below the working directory."""

Role = Literal["events", "items", "properties", "categories"]
"""What a raw file holds: events; a row an item; time-stamped item properties, a row each; a category tree."""


class Expected(Section):
    """What a published file must be, as far as that is known."""

    size: int | None = Field(default=None, ge=0)
    """Bytes."""
    sha256: str | None = None
    """SHA-256, hexadecimal."""
    md5: str | None = None
    """MD5, hexadecimal, where the publisher gives no better one."""


@dataclass(frozen=True)
class Generated:
    """The file is made by the demo shop's generator, all of its files in one job."""


@dataclass(frozen=True)
class Web:
    """The file is fetched from a web server."""

    url: str


@dataclass(frozen=True)
class Archive:
    """The file is a member of a zip archive on a web server; `md5` is the archive's."""

    url: str
    member: str
    md5: str | None = None


@dataclass(frozen=True)
class Kaggle:
    """The file belongs to a Kaggle data set and is fetched with Kaggle's client, for which people need an account."""

    dataset: str
    file: str

    @property
    def page(self) -> str:
        """The data set's page."""
        return f"https://www.kaggle.com/datasets/{self.dataset}"


Origin = Generated | Web | Archive | Kaggle

_OF_PLACES = {"paths", "test_paths", "path", "catalogue"}
"""Keys of layouts that say which files there are, not how they are written."""


@dataclass(frozen=True)
class SourceFile:
    """A raw file of a source.

    Attributes
    ----------
    name : str
        Of a file of events: the name of its part. Of others: the file's own name.
    path : str
        Where it is, or will be once it has been fetched.
    role : Role
        What it holds.
    layout : Section
        How it is laid out: a `FilesSource` for events, and for item data the section that the catalogue reads such files by.
    held_out : bool
        Whether it is a separate test log.
    expected : Expected or None
        What it must be; None where nothing is known or the user wants no verification.
    origin : Origin or None
        Where it is fetched from; None if it is where it is.
    page, licence : str
        Where people find the published file, and what it may be used for; empty for a user's own.
    """

    name: str
    path: str
    role: Role
    layout: Section
    held_out: bool = False
    expected: Expected | None = None
    origin: Origin | None = None
    page: str = ""
    licence: str = ""

    @property
    def described(self) -> dict[str, Any]:
        """What a stage that reads the file is told, but for its path, as JSON values: its role and layout, what it must be, where people
        find it, and whether its date says when it was written."""
        return {
            "role": self.role,
            "layout": self.layout.model_dump(mode="json", exclude=_OF_PLACES),
            "expected": self.expected.model_dump(mode="json", exclude_none=True) if self.expected else None,
            "page": self.page,
            "dated": not isinstance(self.origin, Generated),
        }


class SourceSettings(Section):
    """Base of every source's settings."""

    aside: ClassVar[frozenset[str]] = frozenset()
    """Keys that say nothing of the events themselves: where the files are, and what is known of the items."""

    @abstractmethod
    def raw_files(self) -> list[SourceFile]:
        """Every file, events first, each part once.

        Raises
        ------
        ConfigurationError
            If a file that the user names is not there.
        """

    def of_the_events(self) -> dict[str, Any]:
        """The settings that decide which events the log holds."""
        return self.model_dump(mode="json", exclude=set(self.aside))
