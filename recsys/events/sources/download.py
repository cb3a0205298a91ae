"""Brings a source's raw files to their places: generated, from the web, out of an archive, or from Kaggle."""

from pathlib import Path

from recsys.errors import ConfigurationError
from recsys.events.sources.archive import archive_path, fetch_member
from recsys.events.sources.demo import write_demo
from recsys.events.sources.demo_catalogue import write_demo_catalogue
from recsys.events.sources.fetch import Waiting, fetch
from recsys.events.sources.kaggle_files import fetch_kaggle
from recsys.events.sources.registry import SOURCES
from recsys.settings.raw_files import Archive, Generated, Kaggle, SourceFile, SourceSettings, Web
from recsys.settings.reading import section


def source_of(settings: dict) -> SourceSettings:
    """The typed section `source`.

    Raises
    ------
    ConfigurationError
        If its type is none of the sources.
    """
    kind = settings.get("type", "demo")
    if kind not in SOURCES:
        raise ConfigurationError(f"--settings type is {kind!r}; it is one of {', '.join(SOURCES)}")
    return section({"source": settings}, "source", SOURCES[kind])


def download(source: SourceSettings, paths: list[Path], work: Path, waiting: Waiting | None = None) -> None:
    """Bring raw files to `paths`, which the source's own list of files names.

    Parameters
    ----------
    source : SourceSettings
    paths : list of Path
        Files to fetch, by their places in the list; of a generated shop all of its files in the list's order, wherever they are wanted.
    work : Path
        Folder for half downloads.
    waiting : Waiting, optional
        How often and how long to try.

    Raises
    ------
    ConfigurationError
        If a path is none of the source's files that can be fetched, or a generated shop's files are more or fewer.
    DownloadError
        If a file cannot be fetched, or is not the published one.
    """
    files = [file for file in source.raw_files() if file.origin is not None]
    if files and all(isinstance(file.origin, Generated) for file in files):
        _generate(source, files, paths)
        return
    known = {Path(file.path): file for file in files}
    for path in paths:
        if path not in known:
            names = ", ".join(map(str, known)) or "none"
            raise ConfigurationError(f"{path} is none of the files that this source has to fetch; they are {names}")
    for path in paths:
        _fetch(known[path], files, work, waiting)


def _generate(source: SourceSettings, files: list[SourceFile], paths: list[Path]) -> None:
    """The demo shop's log, items and categories."""
    if len(paths) != len(files):
        names = ", ".join(Path(file.path).name for file in files)
        raise ConfigurationError(f"the shop is generated as {len(files)} files ({names}), but {len(paths)} are named; name one each")
    *log, items, categories = paths
    write_demo(source, log)
    write_demo_catalogue(source, items, categories)


def _fetch(file: SourceFile, files: list[SourceFile], work: Path, waiting: Waiting | None) -> None:
    path = Path(file.path)
    licence = f"{file.page}; licence: {file.licence}" if file.licence else file.page
    print(f"{path}: from {licence}", flush=True)
    match file.origin:
        case Web(url=url):
            fetch(url, path, work, file.expected, waiting)
        case Archive() as origin:
            fetch_member(origin, path, work, file.expected, waiting)
            _drop_archive(origin, files, work)
        case Kaggle() as origin:
            others = [other.origin for other in files if isinstance(other.origin, Kaggle) and other.origin.dataset == origin.dataset]
            fetch_kaggle(origin, path, work, file.expected, [other.file for other in others if other.file != origin.file])


def _drop_archive(origin: Archive, files: list[SourceFile], work: Path) -> None:
    """Remove an archive once all of its members that are wanted are out."""
    members = [file for file in files if isinstance(file.origin, Archive) and file.origin.url == origin.url]
    if all(Path(file.path).is_file() for file in members):
        archive_path(origin, work).unlink(missing_ok=True)
