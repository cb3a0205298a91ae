"""What public logs have in common: files under their publishers' names, fetched from known places or put into a folder by hand.

To add one, write a file beside this one with a subclass of `PublishedSource`: its `type`, its choices as fields, its `page` and `licence`,
and `published()`, which lists its files. A file of events says how it is laid out in the words that a user's own log is described in
(`FilesSource`), so that the one reader reads it; item files use the layouts of `recsys.settings.catalogue`. Then name the class in
`registry.py`. Nothing else needs to know of it: parts, download, verification, ingestion and catalogue go by the list. A test in
tests/unit/test_sources.py reads a made-up sample in the exact layout.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from recsys.errors import ConfigurationError
from recsys.settings.base import Section
from recsys.settings.raw_files import RAW_FOLDER, Archive, Expected, Kaggle, Origin, Role, SourceFile, SourceSettings, Web
from recsys.settings.source import FilesSource, expand_path


@dataclass(frozen=True)
class PublishedFile:
    """A file as its publisher has it.

    Attributes
    ----------
    name : str
        Its own name, by which it lies in a folder too.
    role : Role
        What it holds.
    layout : Section
        How it is laid out.
    origin : Origin or None
        Where it is fetched from; None if it cannot be.
    part : str
        Name of the part that its events go by; empty for item data.
    size, sha256, md5
        What it must be, as far as that is known.
    """

    name: str
    role: Role
    layout: Section
    origin: Origin | None
    part: str = ""
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None


class PublishedSource(SourceSettings):
    """Base of the public logs."""

    aside: ClassVar[frozenset[str]] = frozenset({"folder", "url", "verify", "item_data"})
    page: ClassVar[str]
    """Where people find the data."""
    licence: ClassVar[str]
    """What the data may be used for, in a few words."""

    folder: str | None = None
    """Where the files already are, under their own names; `~` and environment variables are understood. Nothing given: they are fetched
    into results/raw."""
    url: str | None = None
    """A folder on a web server (a mirror, say) that holds the files or archives under their own names; without it, the publisher's."""
    verify: bool = True
    """Whether files must be what was published, by size and digest where these are known; `false` for an excerpt."""
    item_data: bool = True
    """Whether the files that describe the items (names, categories) are used too, where the log has them."""

    @abstractmethod
    def published(self) -> list[PublishedFile]:
        """Every file of the log, events first."""

    def raw_folder(self) -> str:
        """Where fetched files go; a folder for each edition whose files have the same names."""
        return f"{RAW_FOLDER}/{self.model_dump()['type']}"

    def found_folder(self) -> str | None:
        """The folder that holds the files, or None if they are to be fetched.

        Raises
        ------
        ConfigurationError
            If it cannot be said.
        """
        if self.folder is None:
            return None
        return expand_path(self.folder, "source.folder")

    def raw_files(self) -> list[SourceFile]:
        """Every file that is used, events first.

        Raises
        ------
        ConfigurationError
            If `folder` lacks one.
        """
        files = [file for file in self.published() if file.role == "events" or self.item_data]
        folder = self.found_folder()
        place = Path(self.raw_folder() if folder is None else folder)
        if folder is not None:
            self._require(place, files)
        return [
            SourceFile(
                name=file.part or file.name,
                path=str(place / file.name),
                role=file.role,
                layout=file.layout,
                expected=self._expected(file),
                origin=None if folder is not None else self._origin(file.origin),
                page=self.page,
                licence=self.licence,
            )
            for file in files
        ]

    def _require(self, folder: Path, files: list[PublishedFile]) -> None:
        missing = [file for file in files if not (folder / file.name).is_file()]
        if not missing:
            return
        names = ", ".join(file.name for file in missing)
        less = "" if any(file.role == "events" for file in missing) else ", or set item_data: false"
        raise ConfigurationError(
            f"source.folder: {str(folder)!r} (looked for from {Path.cwd()}) lacks {names}; put them there from {self.page}{less}, "
            "or leave source.folder out to have them fetched"
        )

    def _expected(self, file: PublishedFile) -> Expected | None:
        known = (file.size, file.sha256, file.md5)
        if not self.verify or known == (None, None, None):
            return None
        return Expected(size=file.size, sha256=file.sha256, md5=file.md5)

    def _origin(self, origin: Origin | None) -> Origin | None:
        if isinstance(origin, Archive) and not self.verify:
            origin = replace(origin, md5=None)
        if self.url is None:
            return origin
        base = self.url.rstrip("/")
        match origin:
            case Kaggle(file=name):
                return Web(f"{base}/{name}")
            case Web(url=url):
                return Web(f"{base}/{url.rpartition('/')[2]}")
            case Archive(url=url):
                return replace(origin, url=f"{base}/{url.rpartition('/')[2]}")
        return origin


def events_layout(**described: Any) -> FilesSource:
    """How a file of events is laid out, in the words of a user's own log; the path comes with the file."""
    return FilesSource.model_validate({"type": "files", "paths": "the published file"} | described)
