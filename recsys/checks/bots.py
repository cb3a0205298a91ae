"""Visitors with more events within an hour than a person makes."""

import polars as pl

from recsys.checks.finding import EXAMPLES, Finding
from recsys.checks.log import EventLog, named, persons
from recsys.settings.checks import BotsCheck

EVENTS_AT_ONCE = 4_000_000
"""Events looked at in one pass over the log, those of a visitor together."""
FIRST_LOOK = 250_000
"""Events looked at in the first pass, which doubles from pass to pass."""


def find_bots(log: EventLog, check: BotsCheck) -> tuple[Finding, pl.DataFrame]:
    """The finding, and the rows that `drop` removes: a visitor's from the instant on at which an hour held too many."""
    who, table = log.who, persons(log).select(*log.who, "timestamp")
    totals = table.group_by(who).agg(pl.len().alias("total")).collect(engine="streaming")
    if not totals.height:
        return Finding("bots", None, check.threshold, check.policy, not_judged="the log holds no event"), _nothing()
    busiest = _busiest(table, totals.sort("total", *who, descending=[True, *[False] * len(who)], nulls_last=True), who, check.threshold)
    figure = busiest["most"][0]

    from_when = _first_excess(table, busiest.filter(pl.col("most") > check.threshold), who, check.threshold)
    rows = _nothing()
    if from_when.height:
        suspects = persons(log).select(*who, "timestamp", "part", "row").join(from_when.lazy(), on=who, how="inner", nulls_equal=True)
        rows = suspects.filter(pl.col("timestamp") >= pl.col("since")).select("part", "row").collect(engine="streaming")
    # Below the threshold only the busiest is known for sure, since the search stops at it.
    top = busiest.head(max(1, min(EXAMPLES, from_when.height))).iter_rows()
    examples = [named(dict(zip(who, person, strict=True))) | {"events_in_an_hour": most} for *person, most in top]
    sentence = ""
    if figure > check.threshold:
        kind = "visitors" if "visitor_id" in who else "sessions"
        key, value = next(iter(examples[0].items()))
        sentence = (
            f"bots: {from_when.height:,} of {totals.height:,} {kind} have more than {check.threshold:,} events within an hour, which "
            f"checks.bots.threshold allows; the busiest is {key.removesuffix('_id')} {value} with {figure:,}: "
            + (
                f"{rows.height:,} events are removed"
                if check.policy == "drop"
                else "set checks.bots.policy to drop, or raise checks.bots.threshold"
            )
        )
    parts = log.by_part(rows)
    finding = Finding(
        "bots",
        figure,
        check.threshold,
        check.policy,
        sentence,
        {"visitors": from_when.height, "rows": rows.height},
        examples,
        {name: {"rows": number} for name, number in parts.items()},
    )
    return finding, rows


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(schema={"part": pl.Int32, "row": pl.Int64})


def _of(table: pl.LazyFrame, people: pl.DataFrame, who: list[str]) -> pl.DataFrame:
    wanted = table.join(people.lazy().select(who), on=who, how="semi", nulls_equal=True)
    return wanted.collect(engine="streaming").sort(*who, "timestamp")


def _within_an_hour(events: pl.DataFrame, who: list[str]) -> pl.DataFrame:
    """How many events of the same visitor the hour up to each instant holds, those at the instant included."""
    return events.rolling("timestamp", period="1h", group_by=who, closed="right").agg(pl.len().alias("most"))


def _busiest(table: pl.LazyFrame, totals: pl.DataFrame, who: list[str], threshold: int) -> pl.DataFrame:
    """`who` and `most` of the visitors that matter, the busiest first: the one above all, and everyone above the threshold."""
    cumulated = totals["total"].cum_sum()
    found, figure, start, budget = [], 0, 0, FIRST_LOOK
    # Only who has more events in all than the busiest hour found so far can have a busier one.
    while start < totals.height and totals["total"][start] > min(figure, threshold):
        done = cumulated[start - 1] if start else 0
        end = max(start + 1, int(cumulated.search_sorted(done + budget, side="right")))
        found.append(_busiest_hours(table, totals[start:end], who))
        figure, start, budget = max(figure, found[-1]["most"].max()), end, min(2 * budget, EVENTS_AT_ONCE)
    return pl.concat(found).sort("most", *who, descending=[True, *[False] * len(who)], nulls_last=True)


def _busiest_hours(table: pl.LazyFrame, people: pl.DataFrame, who: list[str]) -> pl.DataFrame:
    """`who` and `most`, the events of the busiest hour."""
    return _within_an_hour(_of(table, people, who), who).group_by(who).agg(pl.col("most").max().cast(pl.Int64))


def _first_excess(table: pl.LazyFrame, people: pl.DataFrame, who: list[str], threshold: int) -> pl.DataFrame:
    """`who` and `since`, the first instant at which the hour before it held more events than the threshold."""
    hours = _within_an_hour(_of(table, people, who), who).filter(pl.col("most") > threshold)
    return hours.group_by(who).agg(pl.col("timestamp").min().alias("since"))
