"""What an event log is once it has been read, and which rows are refused, with the reason each is given."""

# ruff: noqa: D102  A rule's name says what must hold, and REASONS says it again for the user.

import datetime as dt

import dataframely as dy
import polars as pl

TIMESTAMP = pl.Datetime("ms", "UTC")
EVENT_COLUMNS = ("visitor_id", "session", "item_id", "event", "timestamp")
"""Columns of every events table, in this order."""
OPTIONAL_COLUMNS = ("value", "quantity")
"""Columns that follow where the source maps them."""

EARLIEST = dt.datetime(1995, 1, 1, tzinfo=dt.UTC)
"""First instant that is believed; an earlier one usually means a wrong unit."""
LATEST = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
"""First instant that is no longer believed."""


class Reading(dy.Schema):
    """A row as it was read: what each field became (null where it could not be read), and whether the file has the field at all.

    The rules are the row checks; a row that breaks one goes to the quarantine, and the first rule it breaks is the reason given.
    """

    row = dy.Int64()
    malformed = dy.Bool()
    surplus = dy.Bool()
    item_given = dy.Bool()
    item_id = dy.Any()
    timestamp_given = dy.Bool()
    timestamp = dy.Datetime(nullable=True, time_unit="ms", time_zone="UTC")
    future = dy.Bool()
    visitor_given = dy.Bool()
    visitor_id = dy.Any()
    session_given = dy.Bool()
    session = dy.Any()
    sessionized = dy.Bool()
    event_given = dy.Bool()
    event = dy.String(nullable=True)
    value_given = dy.Bool()
    value = dy.Float64(nullable=True)
    quantity_given = dy.Bool()
    quantity = dy.Float64(nullable=True)

    @dy.rule()
    def line_is_an_object(cls) -> pl.Expr:
        return ~pl.col("malformed")

    @dy.rule()
    def no_surplus_fields(cls) -> pl.Expr:
        return ~pl.col("surplus")

    @dy.rule()
    def has_an_item(cls) -> pl.Expr:
        return pl.col("item_given")

    @dy.rule()
    def item_is_an_id(cls) -> pl.Expr:
        return ~pl.col("item_given") | pl.col("item_id").is_not_null()

    @dy.rule()
    def has_a_timestamp(cls) -> pl.Expr:
        return pl.col("timestamp_given")

    @dy.rule()
    def timestamp_is_a_time(cls) -> pl.Expr:
        return ~pl.col("timestamp_given") | pl.col("timestamp").is_not_null()

    @dy.rule()
    def timestamp_is_not_too_early(cls) -> pl.Expr:
        return (pl.col("timestamp") >= EARLIEST).fill_null(True)

    @dy.rule()
    def timestamp_is_not_too_late(cls) -> pl.Expr:
        return (pl.col("timestamp") < LATEST).fill_null(True)

    @dy.rule()
    def timestamp_is_not_in_the_future(cls) -> pl.Expr:
        return ~pl.col("future")

    @dy.rule()
    def has_a_session(cls) -> pl.Expr:
        return ~pl.col("sessionized") | pl.col("session_given")

    @dy.rule()
    def session_is_an_id(cls) -> pl.Expr:
        return ~pl.col("session_given") | pl.col("session").is_not_null()

    @dy.rule()
    def has_a_visitor(cls) -> pl.Expr:
        return pl.col("sessionized") | pl.col("visitor_given")

    @dy.rule()
    def visitor_is_an_id(cls) -> pl.Expr:
        return ~pl.col("visitor_given") | pl.col("visitor_id").is_not_null()

    @dy.rule()
    def has_an_event(cls) -> pl.Expr:
        return pl.col("event_given")

    @dy.rule()
    def event_is_known(cls) -> pl.Expr:
        return ~pl.col("event_given") | pl.col("event").is_not_null()

    @dy.rule()
    def value_is_a_number(cls) -> pl.Expr:
        return ~pl.col("value_given") | pl.col("value").is_not_null()

    @dy.rule()
    def quantity_is_a_number(cls) -> pl.Expr:
        return ~pl.col("quantity_given") | pl.col("quantity").is_not_null()


REASONS = {
    "line_is_an_object": "the line is no JSON object",
    "no_surplus_fields": "the row has more fields than the file has columns",
    "has_an_item": "the item is missing",
    "item_is_an_id": "the item is no integer",
    "has_a_timestamp": "the timestamp is missing",
    "timestamp_is_a_time": "the timestamp cannot be read",
    "timestamp_is_not_too_early": f"the timestamp is before {EARLIEST:%Y-%m-%d} (a wrong unit?)",
    "timestamp_is_not_too_late": f"the timestamp is not before {LATEST:%Y-%m-%d} (a wrong unit?)",
    "timestamp_is_not_in_the_future": "the timestamp is in the future (later than the file was last written)",
    "has_a_session": "the session is missing",
    "session_is_an_id": "the session is no integer",
    "has_a_visitor": "the visitor is missing",
    "visitor_is_an_id": "the visitor is no integer",
    "has_an_event": "the event is missing",
    "event_is_known": "the event is not in event_map",
    "value_is_a_number": "the value is no number",
    "quantity_is_a_number": "the quantity is no number",
}
"""The text a refused row carries, by the rule it breaks; in the order in which the rules are asked."""

FIELDS = {
    "item_is_an_id": "item",
    "timestamp_is_a_time": "timestamp",
    "timestamp_is_not_too_early": "timestamp",
    "timestamp_is_not_too_late": "timestamp",
    "timestamp_is_not_in_the_future": "timestamp",
    "session_is_an_id": "session",
    "visitor_is_an_id": "visitor",
    "event_is_known": "event",
    "value_is_a_number": "value",
    "quantity_is_a_number": "quantity",
}
"""The field that a row is refused for, by the rule it breaks; the others are about no field, or about one that is not there."""

REMEDIES = {
    "line_is_an_object": "check the file",
    "no_surplus_fields": "check source.separator and the file's quoting",
    "has_an_item": "check source.columns.item, and that no row breaks off early",
    "item_is_an_id": "set source.id_types.item to 'string' if ids hold letters or leading zeros",
    "has_a_timestamp": "check source.columns.timestamp, and that no row breaks off early",
    "timestamp_is_a_time": "say in source.timestamps how it is written, such as {format: '%d.%m.%Y %H:%M'} or {unit: s}",
    "timestamp_is_not_too_early": "check source.timestamps.unit",
    "timestamp_is_not_too_late": "check source.timestamps.unit",
    "timestamp_is_not_in_the_future": "check source.timestamps; if the file's date is wrong, raise or null checks.future_times.tolerance",
    "has_a_session": "check source.columns.session",
    "session_is_an_id": "set source.id_types.session to 'string' if ids hold letters or leading zeros",
    "has_a_visitor": "check source.columns.visitor, or leave such rows out with source.where",
    "visitor_is_an_id": "set source.id_types.visitor to 'string' if ids hold letters or leading zeros",
    "has_an_event": "check source.columns.event",
    "event_is_known": "add the name to source.event_map, or leave such rows out with source.where",
    "value_is_a_number": "check source.columns.value",
    "quantity_is_a_number": "check source.columns.quantity",
}
"""What a user can do about many rows of a reason."""


def sort_out(readings: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Divide rows into those that keep the contract and those that do not.

    Parameters
    ----------
    readings : pl.DataFrame
        The columns of `Reading`.

    Returns
    -------
    kept : pl.DataFrame
        The same columns, in the same order of rows.
    refused : pl.DataFrame
        `row` and `rule`, the first of `REASONS` that the row breaks.
    """
    kept, failure = Reading.filter(readings)
    details = failure.details()
    first = pl.coalesce(pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in REASONS)
    return kept, details.select("row", first.alias("rule"))
