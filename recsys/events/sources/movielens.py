"""MovieLens: ratings of films, by edition, each in its own layout. A rating is a view, and its stars are the event's value.

`edition: recbole` reads the copy of ml-100k that the RecBole package brings along, where it is installed, without importing it.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from recsys.errors import ConfigurationError
from recsys.events.sources.published import PublishedFile, PublishedSource, events_layout
from recsys.settings.catalogue import ItemLayout
from recsys.settings.raw_files import RAW_FOLDER, Archive
from recsys.settings.source import FilesSource

SERVER = "https://files.grouplens.org/datasets/movielens"

Edition = Literal["ml-latest-small", "ml-100k", "ml-1m", "ml-25m", "ml-32m", "recbole"]

_SHARED = {"timestamps": {"unit": "s"}, "id_types": {"item": "integer", "visitor": "integer"}, "default_event": "view"}

RATINGS_CSV = events_layout(
    **_SHARED, format="csv", columns={"visitor": "userId", "item": "movieId", "value": "rating", "timestamp": "timestamp"}
)
RATINGS_DAT = events_layout(
    **_SHARED, format="csv", header=False, separator=":", columns={"visitor": 0, "item": 2, "value": 4, "timestamp": 6}
)
"""`user::film::stars::time`: read with one colon as separator, every other column is empty."""
U_DATA = events_layout(**_SHARED, format="tsv", header=False, columns={"visitor": 0, "item": 1, "value": 2, "timestamp": 3})
ATOMIC = events_layout(
    **_SHARED,
    format="tsv",
    columns={"visitor": "user_id:token", "item": "item_id:token", "value": "rating:float", "timestamp": "timestamp:float"},
)
"""RecBole's atomic file: each name in the header carries its type."""

MOVIES_CSV = ItemLayout.model_validate({"format": "csv", "columns": {"item": "movieId", "name": "title", "category": "genres"}})
U_ITEM = ItemLayout.model_validate(
    {"format": "csv", "header": False, "separator": "|", "quoted": False, "encoding": "latin-1", "columns": {"item": 0, "name": 1}}
)
ATOMIC_ITEM = ItemLayout.model_validate(
    {"format": "tsv", "quoted": False, "columns": {"item": "item_id:token", "name": "movie_title:token_seq", "category": "class:token_seq"}}
)


@dataclass(frozen=True)
class _Edition:
    """An edition's files; `md5` is the archive's, `digests` the files' own."""

    ratings: str
    layout: FilesSource
    items: str | None
    item_layout: ItemLayout | None
    md5: str | None = None
    digests: tuple[tuple[str, str], ...] = ()


_CSV = ("ratings.csv", RATINGS_CSV, "movies.csv", MOVIES_CSV)
EDITIONS: dict[str, _Edition] = {
    # Films are added to it now and then, so that it has no digest that stays.
    "ml-latest-small": _Edition(*_CSV),
    "ml-100k": _Edition("u.data", U_DATA, "u.item", U_ITEM, md5="0e33842e24a9c977be4e0107933c0723"),
    # Its titles hold single colons, which the separator `::` cannot be told from, so that its item file is left out.
    "ml-1m": _Edition("ratings.dat", RATINGS_DAT, None, None, md5="c4d9eecfca2ab87c1945afe126590906"),
    "ml-25m": _Edition(*_CSV, md5="6b51fb2759a8657d3bfcbfc42b592ada"),
    "ml-32m": _Edition(
        *_CSV, digests=(("ratings.csv", "cf12b74f9ad4b94a011f079e26d4270a"), ("movies.csv", "0df90835c19151f9d819d0822e190797"))
    ),
}

RECBOLE_FOLDER = Path("dataset_example", "ml-100k")
"""Where in the package the files lie."""


class MovieLensSource(PublishedSource):
    """MovieLens ratings."""

    page: ClassVar[str] = "https://grouplens.org/datasets/movielens"
    licence: ClassVar[str] = "published for research by GroupLens, not to be redistributed; see the README of the edition"

    type: Literal["movielens"]
    edition: Edition = "ml-latest-small"
    """The edition; `recbole` is the copy of ml-100k in the RecBole package."""

    def raw_folder(self) -> str:
        """A folder an edition, since their files have the same names."""
        return f"{RAW_FOLDER}/{self.edition}"

    def found_folder(self) -> str | None:
        """The folder, or that of the RecBole package where its copy is wanted."""
        if self.edition != "recbole" or self.folder is not None:
            return super().found_folder()
        package = importlib.util.find_spec("recbole")
        if package is None or not package.submodule_search_locations:
            raise ConfigurationError(
                "source.edition: recbole reads the copy of MovieLens in the package recbole, which is not installed; install it without "
                "its dependencies, name a folder that holds its ml-100k.inter as source.folder, or set edition: ml-100k"
            )
        return str(Path(package.submodule_search_locations[0], RECBOLE_FOLDER))

    def published(self) -> list[PublishedFile]:
        """The ratings, and the films where the edition has them in a layout that can be read."""
        if self.edition == "recbole":
            return [
                PublishedFile(
                    "ml-100k.inter",
                    "events",
                    ATOMIC,
                    None,
                    part="ratings",
                    size=1_979_230,
                    sha256="4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
                ),
                PublishedFile(
                    "ml-100k.item",
                    "items",
                    ATOMIC_ITEM,
                    None,
                    size=66_632,
                    sha256="51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
                ),
            ]
        edition, digests = EDITIONS[self.edition], dict(EDITIONS[self.edition].digests)
        archive = f"{SERVER}/{self.edition}.zip"

        def member(name: str) -> Archive:
            return Archive(archive, f"{self.edition}/{name}", edition.md5)

        files = [
            PublishedFile(
                edition.ratings, "events", edition.layout, member(edition.ratings), part="ratings", md5=digests.get(edition.ratings)
            )
        ]
        if edition.items and edition.item_layout:
            files.append(PublishedFile(edition.items, "items", edition.item_layout, member(edition.items), md5=digests.get(edition.items)))
        return files
