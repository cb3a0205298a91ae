"""The quality checks of an event log: what each measures, how much is too much, and what then happens."""

from typing import Annotated, Literal

from pydantic import Field

from recsys.settings.base import Duration, Section

Share = Annotated[float, Field(ge=0, le=1)]


class QuarantinedCheck(Section):
    """Rows of a part that were refused, whatever the reason; they are in the quarantine in any case."""

    threshold: Share = 0.05
    """Share of a part's rows; rows that `source.where` leaves out do not count."""
    policy: Literal["warn", "stop"] = "stop"
    """What happens above the threshold."""


class UnknownEventsCheck(Section):
    """Rows of a part whose event is not in `source.event_map`; they are in the quarantine in any case."""

    threshold: Share = 0.01
    """Share of a part's rows; rows that `source.where` leaves out do not count."""
    policy: Literal["warn", "stop"] = "warn"
    """What happens above the threshold."""


class FutureTimesCheck(Section):
    """Rows of a part that happened after the raw file was last written; they are in the quarantine in any case.

    The clock of the machine is not asked: the same file is read alike tomorrow. A file that was written before 1995 has no date to go by
    and is not judged, nor is the demo shop, whose times are made up.
    """

    threshold: Share = 0.001
    """Share of a part's rows; rows that `source.where` leaves out do not count."""
    policy: Literal["warn", "stop"] = "warn"
    """What happens above the threshold."""
    tolerance: Duration | None = 86_400_000
    """How much later than the file's date an event may be; a day covers every time zone. None: rows are not compared with the date."""


class DuplicatesCheck(Section):
    """Rows that equal an earlier row of the log in every column, within a part or across parts."""

    threshold: Share = 0.05
    """Share of the log's events."""
    policy: Literal["drop", "warn", "stop"] = "warn"
    """What happens above the threshold. `drop` removes the later copies, however few they are."""


class VolumeCheck(Section):
    """A day's events against a usual day: the median of the days with events among the seven days before it.

    Days are those of UTC. The first and the last day of a log are partial: neither is judged, and the first is no measure for others.
    """

    threshold: float = Field(default=10.0, gt=1)
    """How many times more, or fewer, events than on a usual day are too many, or too few."""
    policy: Literal["drop", "warn", "stop"] = "warn"
    """What happens above the threshold. `drop` removes a day's events from the one on that is too many; a quiet day is only reported."""
    days: int = Field(default=3, ge=1, le=7)
    """Fewest days with events among the seven before; with fewer, a day is not judged."""
    events: int = Field(default=100, ge=1)
    """A day is judged where it or the usual day has at least this many events."""


class MissingDaysCheck(Section):
    """Days without any event between the first and the last day of a log, in UTC."""

    threshold: int = Field(default=0, ge=0)
    """Days that may be missing."""
    policy: Literal["warn", "stop"] = "warn"
    """What happens above the threshold."""


class BotsCheck(Section):
    """Visitors with more events within an hour than a person makes; in a log without visitors, sessions."""

    threshold: int = Field(default=1_000, ge=1)
    """Events of a visitor within any hour."""
    policy: Literal["drop", "warn", "stop"] = "warn"
    """What happens above the threshold. `drop` removes the visitor's events from the one on that is too many, for good."""


class ConversionOrderCheck(Section):
    """Purchases of an item by a visitor (in a log without visitors, in a session) without a view of it before or at the same time.

    Not judged where the log has no views.
    """

    threshold: Share = 0.5
    """Share of the purchases that are judged."""
    policy: Literal["drop", "warn", "stop"] = "warn"
    """What happens above the threshold. `drop` removes such purchases, however few they are."""
    history: Duration = 86_400_000
    """Purchases that come sooner after the log's first view are not judged: their own views may lie before the log."""


class UnseenItemsCheck(Section):
    """Held-out clicks on items that no training click is on; no model can recommend these. Judged for validation and for test."""

    threshold: Share = 0.5
    """Share of the held-out clicks."""
    policy: Literal["warn", "stop"] = "warn"
    """What happens above the threshold."""


class Checks(Section):
    """Quality checks. Each measures a figure and fails where it is above its `threshold`; the `policy` says what then happens.

    `warn` says so and goes on, `stop` ends the run, `drop` removes what is at fault before sessions are made. What is removed is decided
    by what came before it only, so that nothing after a cut of the split changes what is learned from. A separate test log is judged by
    itself.
    """

    quarantined: QuarantinedCheck = QuarantinedCheck()
    """Refused rows."""
    unknown_events: UnknownEventsCheck = UnknownEventsCheck()
    """Events that are not mapped."""
    future_times: FutureTimesCheck = FutureTimesCheck()
    """Events later than their file."""
    duplicates: DuplicatesCheck = DuplicatesCheck()
    """Rows that stand twice."""
    bots: BotsCheck = BotsCheck()
    """Visitors with implausible rates."""
    volume: VolumeCheck = VolumeCheck()
    """Days with far more or far fewer events than usual."""
    missing_days: MissingDaysCheck = MissingDaysCheck()
    """Days without events."""
    conversion_order: ConversionOrderCheck = ConversionOrderCheck()
    """Purchases without a view."""
    unseen_items: UnseenItemsCheck = UnseenItemsCheck()
    """Held-out items that are new."""
