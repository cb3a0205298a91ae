"""RetailRocket: a real shop's views, carts and purchases in 4.5 months of 2015, with item properties over time and a category tree.

2,756,101 events (2,664,312 view, 69,332 addtocart, 22,457 transaction) of 1,407,580 visitors on 235,061 items. Of the properties only the
item's category and whether it can be bought are readable; the others are hashed.
"""

from typing import ClassVar, Literal

from recsys.events.sources.published import PublishedFile, PublishedSource, events_layout
from recsys.settings.catalogue import CategoryLayout, ItemLayout
from recsys.settings.raw_files import Kaggle

DATASET = "retailrocket/ecommerce-dataset"

EVENTS = events_layout(
    columns={"visitor": "visitorid", "item": "itemid", "timestamp": "timestamp", "event": "event"},
    timestamps={"unit": "ms"},
    id_types={"item": "integer", "visitor": "integer"},
    event_map={"view": "view", "addtocart": "cart", "transaction": "purchase"},
)
PROPERTIES = ItemLayout.model_validate(
    {
        "columns": {"item": "itemid", "property": "property", "value": "value", "timestamp": "timestamp"},
        "timestamps": {"unit": "ms"},
        "properties": {"categoryid": "category", "available": "available"},
    }
)
CATEGORIES = CategoryLayout.model_validate({"columns": {"category": "categoryid", "parent": "parentid"}})


class RetailRocketSource(PublishedSource):
    """The RetailRocket data set of Kaggle: events, item properties and the category tree."""

    page: ClassVar[str] = f"https://www.kaggle.com/datasets/{DATASET}"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0: with attribution, not commercially, and shared under the same licence"

    type: Literal["retailrocket"]

    def published(self) -> list[PublishedFile]:
        """The four files; sizes and digests are of the one version that was ever published."""
        return [
            PublishedFile(
                "events.csv",
                "events",
                EVENTS,
                Kaggle(DATASET, "events.csv"),
                part="events",
                size=94_237_913,
                sha256="3745aa83238b1e6d44d8fda209807899f420084398f94ddf745f3cbcfecbf9e7",
            ),
            PublishedFile(
                "item_properties_part1.csv",
                "properties",
                PROPERTIES,
                Kaggle(DATASET, "item_properties_part1.csv"),
                size=484_315_749,
                sha256="30aad5aeca58b2dc27dcc73e1708565f5818e45adb3eb57401f91e87355b0b81",
            ),
            PublishedFile(
                "item_properties_part2.csv",
                "properties",
                PROPERTIES,
                Kaggle(DATASET, "item_properties_part2.csv"),
                size=408_929_907,
                sha256="d5e7d1a91dc40f522aeb596b267e6c87d8aed689a7192d12369cfb165eb987e5",
            ),
            PublishedFile(
                "category_tree.csv",
                "categories",
                CATEGORIES,
                Kaggle(DATASET, "category_tree.csv"),
                size=14_454,
                sha256="94e865eb0a3d48cbbfe3b79079018dd92509315c88f5fd8d00d0b4b5af434f5b",
            ),
        ]
