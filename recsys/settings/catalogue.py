"""What a shop knows of its items: files of names, categories and availability, and the category tree."""

from typing import ClassVar, Literal

from pydantic import model_validator

from recsys.settings.base import Section
from recsys.settings.layout import Layout, Paths, TimedLayout, UniqueColumns

PROPERTY_COLUMNS = ("name", "category", "available")
"""Columns of item files that become the property of the same name."""


class ItemColumns(UniqueColumns):
    """Which column of an item file holds what: a name, or, in files without a header, a position counted from 0."""

    item: str | int
    """The item's id, as in the log."""
    name: str | int | None = None
    """What people call the item."""
    category: str | int | None = None
    """The category it belongs to."""
    available: str | int | None = None
    """Whether it can be bought."""
    property: str | int | None = None
    """The property's name, in files with a row a property; `value` then holds what it is."""
    value: str | int | None = None
    """The property's value."""
    timestamp: str | int | None = None
    """Since when the row holds; without it, always."""

    @model_validator(mode="after")
    def _something_is_said(self) -> "ItemColumns":
        if (self.property is None) != (self.value is None):
            raise ValueError("'property' and 'value' come together; map both or neither")
        if self.property is None and all(getattr(self, field) is None for field in PROPERTY_COLUMNS):
            raise ValueError(f"nothing is said about the items; map one of {', '.join(PROPERTY_COLUMNS)}, or 'property' and 'value'")
        return self


class ItemLayout(TimedLayout):
    """How item files are written: a row an item, or a row a property of an item; with times, a row holds from then on."""

    key: ClassVar[str] = "source.catalogue.items"

    columns: ItemColumns
    """Which column holds what."""
    properties: dict[str, str] | None = None
    """With `columns.property`: the file's property names to the catalogue's (`name`, `category`, `available`, or one of your own);
    others are left out. Nothing given: all are kept, under the file's names."""
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    """How the texts of CSV and TSV files are encoded."""

    @model_validator(mode="after")
    def _properties_of_a_column(self) -> "ItemLayout":
        if self.properties is not None and self.columns.property is None:
            raise ValueError("'properties' renames what stands in the column 'property', which is not mapped; map it, or leave this out")
        return self


class ItemFiles(ItemLayout):
    """A shop's own item files; the log itself may be one, where its rows name the items."""

    paths: Paths
    """Files or globs; of rows that say different things about an item at the same time, the last one holds, in this order of files."""


class CategoryColumns(UniqueColumns):
    """Which column of a category file holds what."""

    category: str | int
    """The category."""
    parent: str | int
    """The category it is part of; empty for a root."""


class CategoryLayout(Layout):
    """How a category tree is written: a row a category."""

    key: ClassVar[str] = "source.catalogue.categories"

    columns: CategoryColumns
    """Which column holds what."""


class CategoryFile(CategoryLayout):
    """A shop's own category tree."""

    path: str
    """The file."""


class CatalogueFiles(Section):
    """What a shop knows of its items."""

    items: ItemFiles | None = None
    """Files that say what items are called, where they belong and whether they can be bought."""
    categories: CategoryFile | None = None
    """The category tree."""

    @model_validator(mode="after")
    def _not_empty(self) -> "CatalogueFiles":
        if self.items is None and self.categories is None:
            raise ValueError("neither 'items' nor 'categories' is given; name the files of at least one of them")
        return self
