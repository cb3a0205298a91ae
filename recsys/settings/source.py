"""The demo shop's generator and a shop's own files; the public logs stand beside their readers in `recsys.events.sources`."""

import os
import re
from glob import glob
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from recsys.errors import ConfigurationError
from recsys.settings.catalogue import CatalogueFiles
from recsys.settings.layout import Paths, TimedLayout, UniqueColumns
from recsys.settings.raw_files import RAW_FOLDER, Generated, SourceFile, SourceSettings

EVENT_TYPES = ("view", "cart", "purchase")
"""The event types of the contract, in the order of their codes; a log may add others, numbered after these."""


class DemoSource(SourceSettings):
    """The embedded demo shop: a seeded generator of a category tree, tastes, browsing paths, carts and purchases."""

    type: Literal["demo"] = "demo"
    events: int = Field(default=200_000, ge=1_000, le=2_000_000_000)
    """About how many events are generated, late and duplicated ones included."""
    items: int = Field(default=2_000, ge=50, le=50_000_000)
    """How many items the shop sells."""
    visitors: int = Field(default=12_000, ge=10, le=500_000_000)
    """How many visitors come."""
    days: int = Field(default=28, ge=4, le=3650)
    """How many days the log covers."""
    parts: int = Field(default=4, ge=1, le=1_000)
    """How many raw files the log is cut into, by time."""
    format: Literal["csv", "parquet"] = "csv"
    """The raw files' format. Only CSV holds rows that cannot be read."""
    seed: int = Field(default=1, ge=0)
    """Seed of the generator: the same seed gives the same files, byte for byte."""

    def raw_files(self) -> list[SourceFile]:
        """A file of events a part, then the items and the category tree."""
        from recsys.events.sources.demo_layout import CATEGORIES, ITEMS, LAYOUT

        names = [f"demo-{number:04d}" for number in range(self.parts)]
        events = [SourceFile(name, f"{RAW_FOLDER}/{name}.{self.format}", "events", LAYOUT, origin=Generated()) for name in names]
        return [
            *events,
            SourceFile("demo-items.csv", f"{RAW_FOLDER}/demo-items.csv", "items", ITEMS, origin=Generated()),
            SourceFile("demo-categories.csv", f"{RAW_FOLDER}/demo-categories.csv", "categories", CATEGORIES, origin=Generated()),
        ]


class Columns(UniqueColumns):
    """Which column of the log holds what: a name, or, in files without a header, a position counted from 0."""

    item: str | int
    """The item's id, an integer or a text."""
    timestamp: str | int
    """When it happened."""
    visitor: str | int | None = None
    """Who it was. Needed unless `session` is given."""
    session: str | int | None = None
    """The session's id, in logs that are already sessionized."""
    event: str | int | None = None
    """What happened (view, cart, …); without it every row is a `default_event`."""
    value: str | int | None = None
    """The event's value, a number (a price, say)."""
    quantity: str | int | None = None
    """How many pieces, a number."""

    @model_validator(mode="after")
    def _somebody_came(self) -> "Columns":
        if self.visitor is None and self.session is None:
            raise ValueError("neither 'visitor' nor 'session' is mapped; name the column of at least one of them")
        return self


class FilesSource(TimedLayout, SourceSettings):
    """A shop's own log: one or many files in one layout. The files are read where they are and never changed."""

    aside: ClassVar[frozenset[str]] = frozenset({"paths", "test_paths", "catalogue"})

    type: Literal["files"]
    paths: Paths
    """Files or globs, relative to the working directory; each file becomes a part."""
    test_paths: Paths | None = None
    """A separate test log in the same layout; `split.test` is then not used."""
    columns: Columns
    """Which column holds what."""
    id_types: dict[Literal["item", "visitor", "session"], Literal["auto", "integer", "string"]] = Field(default={})
    """What the ids are. `auto` (the default of each): integers if those in a file's first rows are; text such as `00123` is none. Set
    `string` where letters only come later in the log, and `integer` to have everything else refused."""
    event_map: dict[str, str] | None = None
    """The log's event names to the contract's (`view`, `cart`, `purchase`, or a name of your own); others are refused."""
    default_event: str = "view"
    """The event of every row, where no event column is mapped."""
    catalogue: CatalogueFiles | None = None
    """What the shop knows of its items: names, categories, availability; without it, items are known by their ids alone."""

    def raw_files(self) -> list[SourceFile]:
        """The files that the paths match, each a part that is named after its file, and those that describe the items.

        Raises
        ------
        ConfigurationError
            If a path matches no file, or a file is both trained and tested on.
        """
        files = expand_paths(self.paths, "source.paths")
        held_out = expand_paths(self.test_paths or [], "source.test_paths")
        tested = {Path(file).resolve() for file in held_out}
        for file in files:
            if Path(file).resolve() in tested:
                raise ConfigurationError(
                    f"source.paths and source.test_paths both hold {file}; a test log must not be trained on, so narrow the paths"
                )
        found: dict[str, SourceFile] = {}
        for file in [*files, *held_out]:
            stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(file).name.split(".")[0]).strip("-") or "part"
            name, number = stem, 2
            while name in found:
                name, number = f"{stem}-{number}", number + 1
            found[name] = SourceFile(name, file, "events", self, held_out=len(found) >= len(files))
        return [*found.values(), *self._catalogue_files()]

    def _catalogue_files(self) -> list[SourceFile]:
        if self.catalogue is None:
            return []
        items, tree = self.catalogue.items, self.catalogue.categories
        files = [
            SourceFile(Path(file).name, file, "items", items)
            for file in (expand_paths(items.paths, "source.catalogue.items.paths") if items else [])
        ]
        if tree:
            (file, *more) = expand_paths([tree.path], "source.catalogue.categories.path")
            if more:
                raise ConfigurationError(f"source.catalogue.categories.path: {tree.path!r} matches {file} and {more[0]}; name one file")
            files.append(SourceFile(Path(file).name, file, "categories", tree))
        return files


def expand_path(text: str, key: str) -> str:
    """A path with `~` and environment variables filled in; `key` is where it stands in the configuration.

    Raises
    ------
    ConfigurationError
        If a variable is not set.
    """
    expanded = os.path.expandvars(str(Path(text).expanduser()))
    if "$" in expanded:
        raise ConfigurationError(f"{key}: {text!r} names an environment variable that is not set; set it, or write the path out")
    return expanded


def expand_paths(patterns: list[str], key: str) -> list[str]:
    """The files that paths and globs match, each once, in their order; `key` is where they stand in the configuration.

    Raises
    ------
    ConfigurationError
        If one matches no file.
    """
    files: list[str] = []
    for pattern in patterns:
        found = sorted(glob(expand_path(pattern, key), recursive=True))
        if not found:
            raise ConfigurationError(
                f"{key}: no file matches {pattern!r} (looked for it from {Path.cwd()}); correct the path, or name the folder with "
                "--directory"
            )
        files += [file for file in found if file not in files]
    return files
