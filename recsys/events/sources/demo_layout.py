"""How the demo shop's raw files are read: by the same reader as any other log."""

from recsys.settings.catalogue import CategoryColumns, CategoryLayout, ItemColumns, ItemLayout
from recsys.settings.layout import Timestamps
from recsys.settings.source import EVENT_TYPES, Columns, FilesSource

LAYOUT = FilesSource(
    type="files",
    paths=["results/raw/*"],
    columns=Columns(item="item", timestamp="timestamp", visitor="visitor", event="event", value="price", quantity="quantity"),
    timestamps=Timestamps(unit="ms"),
    id_types={"item": "integer", "visitor": "integer"},
    event_map={name: name for name in EVENT_TYPES},
)
"""How the log is read; the demo shop goes through the same reader as any other log."""

ITEMS = ItemLayout(columns=ItemColumns(item="item", name="name", category="category"))
"""How the item file is read."""

CATEGORIES = CategoryLayout(columns=CategoryColumns(category="category", parent="parent"))
"""How the category file is read."""
