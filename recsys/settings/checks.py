"""The quality checks of an event log: how much is too much, and what then happens."""

from typing import Literal

from pydantic import Field

from recsys.settings.base import Section


class Checks(Section):
    """Quality checks at ingestion: how many refused rows are too many."""

    max_quarantined: float = Field(default=0.05, ge=0, le=1)
    """Share of a part's rows that may be refused before the check fails; rows that `where` leaves out do not count."""
    on_failure: Literal["warn", "stop"] = "stop"
    """What a failed check does."""
