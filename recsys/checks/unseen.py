"""Held-out clicks on items that training never saw."""

import numpy as np
import polars as pl

from recsys.checks.finding import EXAMPLES, Finding
from recsys.settings.checks import UnseenItemsCheck


def judge_unseen_items(train: np.ndarray, held_out: np.ndarray, ids: pl.Series, check: UnseenItemsCheck, split: str) -> Finding:
    """The finding on one fit window.

    Parameters
    ----------
    train, held_out : int [clicks]
        Catalogue codes of the clicks, before any filter.
    ids
        Item ids, by catalogue code.
    check
        Threshold and policy.
    split
        What is held out: valid or test.
    """
    counts = np.bincount(held_out, minlength=len(ids))
    counts[np.unique(train)] = 0
    new = np.flatnonzero(counts)
    clicks = int(counts.sum())
    share = clicks / len(held_out) if len(held_out) else 0.0
    worst = new[np.argsort(-counts[new], kind="stable")][:EXAMPLES]
    examples = [{"item_id": item, "clicks": int(counts[code])} for item, code in zip(ids.gather(worst), worst, strict=True)]
    sentence = ""
    if share > check.threshold:
        sentence = (
            f"unseen_items: {clicks:,} of {len(held_out):,} {split} clicks ({share:.1%}) are on items that training never saw, more than "
            f"checks.unseen_items.threshold allows ({check.threshold:.1%}); most on item {examples[0]['item_id']} "
            f"({examples[0]['clicks']:,} clicks): no model can recommend these, so choose a smaller split.{split}, look "
            "whether item ids change, or raise checks.unseen_items.threshold"
        )
    return Finding("unseen_items", share, check.threshold, check.policy, sentence, {"clicks": clicks, "items": len(new)}, examples)
