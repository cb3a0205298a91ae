"""Amazon reviews, by category: who reviewed what when, as JSON lines. A review stands for a purchase, its rating for the event's value.

The 2023 edition is fetched from the McAuley Lab's server; the older layout of the 2018 edition has other field names and seconds.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from recsys.events.sources.published import PublishedFile, PublishedSource, events_layout
from recsys.settings.catalogue import ItemLayout
from recsys.settings.raw_files import RAW_FOLDER, Web

SERVER = "https://mcauleylab.ucsd.edu/public_datasets/data"

_TEXT_IDS = {"item": "string", "visitor": "string"}
REVIEWS = {
    "2023": events_layout(
        format="jsonl",
        columns={"visitor": "user_id", "item": "parent_asin", "timestamp": "timestamp", "value": "rating"},
        timestamps={"unit": "ms"},
        id_types=_TEXT_IDS,
        default_event="purchase",
    ),
    "2018": events_layout(
        format="jsonl",
        columns={"visitor": "reviewerID", "item": "asin", "timestamp": "unixReviewTime", "value": "overall"},
        timestamps={"unit": "s"},
        id_types=_TEXT_IDS,
        default_event="purchase",
    ),
}
"""Colours and sizes of an article share a `parent_asin`, which is also what the item files of 2023 go by."""
ITEMS = {
    "2023": ItemLayout.model_validate(
        {"format": "jsonl", "columns": {"item": "parent_asin", "name": "title", "category": "main_category"}}
    ),
    "2018": ItemLayout.model_validate({"format": "jsonl", "columns": {"item": "asin", "name": "title", "category": "main_cat"}}),
}
_ADDRESSES = {
    "2023": ("amazon_2023/raw/review_categories/{}.jsonl.gz", "amazon_2023/raw/meta_categories/meta_{}.jsonl.gz"),
    "2018": ("amazon_v2/categoryFiles/{}.json.gz", "amazon_v2/metaFiles2/meta_{}.json.gz"),
}

Category = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]


class AmazonReviewsSource(PublishedSource):
    """Amazon reviews of one or several categories."""

    page: ClassVar[str] = "https://amazon-reviews-2023.github.io"
    licence: ClassVar[str] = "published for research by the McAuley Lab, UC San Diego; see its page for how to cite it"

    type: Literal["amazon_reviews"]
    categories: list[Category] = Field(min_length=1)
    """Categories by the publisher's name, such as `All_Beauty` or `Video_Games`; each is a part."""
    edition: Literal["2023", "2018"] = "2023"
    """The edition; they differ in their fields and in how categories are called."""
    item_data: bool = False
    """Whether the files with the items' titles, which may be larger than the reviews, are used too."""

    @field_validator("categories")
    @classmethod
    def _different(cls, categories: list[str]) -> list[str]:
        if len(set(categories)) != len(categories):
            raise ValueError(f"a category stands twice in {categories}; name each once")
        return categories

    def raw_folder(self) -> str:
        """A folder an edition."""
        return f"{RAW_FOLDER}/amazon_reviews_{self.edition}"

    def published(self) -> list[PublishedFile]:
        """A file of reviews a category, then a file of items a category."""
        reviews, items = (f"{SERVER}/{path}" for path in _ADDRESSES[self.edition])
        return [
            PublishedFile(_name(reviews, category), "events", REVIEWS[self.edition], Web(reviews.format(category)), part=category)
            for category in self.categories
        ] + [
            PublishedFile(_name(items, category), "items", ITEMS[self.edition], Web(items.format(category))) for category in self.categories
        ]


def _name(address: str, category: str) -> str:
    return address.format(category).rpartition("/")[2]
