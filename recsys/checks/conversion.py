"""Purchases of items that the visitor had not viewed."""

import datetime as dt

import polars as pl

from recsys.checks.finding import EXAMPLES, Finding
from recsys.checks.log import EventLog, named, persons
from recsys.settings.base import format_duration
from recsys.settings.checks import ConversionOrderCheck


def find_purchases_without_view(log: EventLog, check: ConversionOrderCheck) -> tuple[Finding, pl.DataFrame]:
    """The finding, and the purchases without a view of the item before or at the same time: `part`, `row`."""
    nothing = pl.DataFrame(schema={"part": pl.Int32, "row": pl.Int64})
    key = [*log.who, "item_id"]
    table = persons(log)
    first = table.filter(pl.col("event") == "view").select(pl.col("timestamp").min()).collect(engine="streaming").item()
    if first is None:
        return Finding("conversion_order", None, check.threshold, check.policy, not_judged="the log has no views"), nothing
    begin = first + dt.timedelta(milliseconds=check.history)
    bought = table.filter((pl.col("event") == "purchase") & (pl.col("timestamp") >= begin)).select(*key, "timestamp", "part", "row")
    purchases = bought.collect(engine="streaming")
    if not purchases.height:
        reason = f"the log has no purchase {format_duration(check.history)} after its first view or later"
        return Finding("conversion_order", None, check.threshold, check.policy, not_judged=reason), nothing

    pairs = purchases.lazy().select(key).unique()
    viewed = table.filter(pl.col("event") == "view").select(*key, "timestamp").join(pairs, on=key, how="semi", nulls_equal=True)
    seen = viewed.group_by(key).agg(pl.col("timestamp").min().alias("seen")).collect(engine="streaming")
    purchases = purchases.join(seen, on=key, how="left", nulls_equal=True)
    unseen = purchases.filter((pl.col("seen") > pl.col("timestamp")).fill_null(True)).sort("part", "row")

    share = unseen.height / purchases.height
    top = unseen.group_by(log.who).agg(pl.len().alias("purchases"), pl.first("part"), pl.first("row"))
    top = top.sort("purchases", "part", "row", descending=[True, False, False]).head(EXAMPLES)
    examples = [
        named(dict(zip(log.who, person, strict=True))) | {"purchases": number, "part": log.parts[part], "row": row}
        for *person, number, part, row in top.iter_rows()
    ]
    sentence = ""
    if share > check.threshold:
        worst = examples[0]
        kind = "visitor" if "visitor_id" in worst else "session"
        sentence = (
            f"conversion_order: {unseen.height:,} of {purchases.height:,} purchases ({share:.1%}) are of an item that the {kind} had not "
            f"viewed, more than checks.conversion_order.threshold allows ({check.threshold:.1%}); most by {kind} "
            f"{worst.get('visitor_id', worst.get('session'))} ({worst['purchases']:,}, first in row {worst['row']} of {worst['part']}): "
            + (
                "they are removed"
                if check.policy == "drop"
                else "look whether views are missing or ids change on the way, or raise checks.conversion_order.threshold"
            )
        )
    judged, found = log.by_part(purchases), log.by_part(unseen)
    finding = Finding(
        "conversion_order",
        share,
        check.threshold,
        check.policy,
        sentence,
        {"rows": unseen.height, "purchases": purchases.height},
        examples,
        {name: {"rows": found[name], "purchases": judged[name]} for name in log.parts},
    )
    return finding, unseen.select("part", "row")
