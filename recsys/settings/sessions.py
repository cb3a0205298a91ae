"""From events to sessions and to the two fit windows."""

from typing import Literal

from pydantic import Field, model_validator

from recsys.settings.base import Duration, Section, SplitSize


class SessionSettings(Section):
    """How events become sessions of clicks."""

    gap: Duration = 30 * 60_000
    """A pause longer than this starts a new session; exactly this long does not. Not used where the log has sessions."""
    clicks: list[str] | None = None
    """The event types that count as clicks; the others hold a session together but are left out of it. None: all."""
    drop_repeats: bool = True
    """Whether an item that directly follows itself in a session is dropped."""


class SplitSettings(Section):
    """Where the log is cut in time."""

    test: SplitSize = 0.1
    """Sessions that start in this last part of the log (a duration, or a share of the sessions) are test."""
    valid: SplitSize = 0.1
    """Sessions that start in this part before the test part are validation."""
    protocol: Literal["strict", "gru4rec"] = "strict"
    """`strict`: nothing after a cut reaches training or its filters. `gru4rec`: filters before splitting, as published figures do."""

    @model_validator(mode="after")
    def _something_is_left(self) -> "SplitSettings":
        if isinstance(self.test, float) and isinstance(self.valid, float) and round(self.test + self.valid, 9) >= 1:
            raise ValueError(
                f"test is {self.test} and valid is {self.valid}, shares of all sessions, so that none is left for training; choose shares "
                "that sum to less than 1, such as 0.1 each"
            )
        return self


class FilterSettings(Section):
    """What training keeps, applied until nothing changes."""

    min_support: int = Field(default=5, ge=1)
    """Fewest clicks of an item in training."""
    min_session_length: int = Field(default=2, ge=2)
    """Fewest clicks of a session."""
