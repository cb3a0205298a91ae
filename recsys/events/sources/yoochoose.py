"""YooChoose, the log of the RecSys Challenge 2015: clicks and purchases of half a year of 2014, already sessionized, without visitors.

The archive of the challenge was a 7z file; a Kaggle data set keeps the same files, and they are fetched from there, so that no library for
7z is needed (docs/decisions/0007-published-logs.md).
"""

from typing import ClassVar, Literal

from recsys.events.sources.published import PublishedFile, PublishedSource, events_layout
from recsys.settings.raw_files import Kaggle

DATASET = "chadgostopp/recsys-challenge-2015"
_FORM = {
    "format": "csv",
    "header": False,
    "timestamps": {"format": "iso"},
    "id_types": {"item": "integer", "session": "integer"},
}

CLICKS = events_layout(**_FORM, columns={"session": 0, "timestamp": 1, "item": 2}, default_event="view")
"""Session, time, item, and a category that says more of the page than of the item, which is left out."""
BUYS = events_layout(**_FORM, columns={"session": 0, "timestamp": 1, "item": 2, "value": 3, "quantity": 4}, default_event="purchase")
"""Session, time, item, price and quantity; both are 0 where they are not known."""


class YooChooseSource(PublishedSource):
    """The clicks and purchases of the RecSys Challenge 2015."""

    page: ClassVar[str] = f"https://www.kaggle.com/datasets/{DATASET}"
    licence: ClassVar[str] = "CC BY-NC-ND 4.0: with attribution, not commercially, and not altered"

    type: Literal["yoochoose"]

    def published(self) -> list[PublishedFile]:
        """Clicks and purchases, a part each."""
        return [
            PublishedFile(f"yoochoose-{part}.dat", "events", layout, Kaggle(DATASET, f"yoochoose-{part}.dat"), part=part)
            for part, layout in (("clicks", CLICKS), ("buys", BUYS))
        ]
