"""Parameters of the counting models."""

from typing import Literal

from pydantic import Field

from recsys.settings.base import Duration, Section


class PopularityParameters(Section):
    """The most clicked items, for everyone the same."""

    window: Duration | None = None
    """Count only clicks of sessions that start in this last part of training. None: all of it."""


class ItemToItemParameters(Section):
    """Items clicked after, or around, the session's last items."""

    direction: Literal["forward", "both"] = "forward"
    """Whether a pair counts only for the later item or for both."""
    reach: int = Field(default=10, ge=1)
    """Most clicks between the two items of a pair; a pair at distance d counts 1/d."""
    last_items: int = Field(default=3, ge=1)
    """How many of the session's last items vote, the i-th last with weight 1/i."""
    neighbours: int = Field(default=500, ge=1)
    """Most followers kept an item."""
