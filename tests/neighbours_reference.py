"""Session-kNN as one would write it down: one query, plain lists, nothing fast.

A query is its last `max_length` known clicks: earlier ones are neither compared nor held, and a second round of more items than that asks
the best `max_length`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

DEFAULTS: dict[str, Any] = {
    "max_length": 20,
    "sample": 5_000,
    "neighbours": 500,
    "query_decay": "exponential",
    "query_scale": 2.0,
    "idf_similarity": 1.0,
    "length_norm": 0.5,
    "recency": 0,
    "sharpness": 1.0,
    "anchor": "last",
    "anchor_decay": "none",
    "anchor_scale": 2.0,
    "distance_decay": "exponential",
    "distance_scale": 2.0,
    "reach": 0,
    "before": 0.5,
    "same": 1.0,
    "repeats": "best",
    "own": 1.0,
    "idf_score": 0.0,
    "expand": 0,
    "expand_weight": 0.1,
}


def decayed(form: str, scale: float, distance: int, length: int) -> float:
    match form:
        case "none":
            return 1.0
        case "length":
            return 1 - distance / length
        case "linear":
            return max(0.0, 1 - distance / scale)
        case "harmonic":
            return 1 / (1 + distance / scale)
        case "exponential":
            return math.exp(-distance / scale)
    raise AssertionError(form)


def voted(
    sessions: Sequence[Sequence[int]],
    starts: Sequence[int] | None,
    n_items: int,
    sessions_per_item: int,
    query: Sequence[int],
    **given: Any,
) -> list[float]:
    """The votes for every item in one round; sessions are ordered, the oldest first."""
    p = DEFAULTS | given
    newest_first = range(len(sessions) - 1, -1, -1)
    holding = {item: [s for s in newest_first if item in sessions[s]] for item in range(n_items)}
    listed = {item: found[: sessions_per_item or None] for item, found in holding.items()}

    def rarity(item: int) -> float:
        return math.log1p(len(sessions) / max(len(holding[item]), 1))

    looked_at = [item for item in query if item >= 0][-p["max_length"] :]
    after = {item: looked_at[::-1].index(item) for item in looked_at}  # clicks after an item's last one
    shared_by = {s: [item for item in after if s in listed[item]] for s in newest_first}
    compared = [s for s in newest_first if shared_by[s]][: p["sample"] or None]

    def similarity(s: int) -> float:
        found = 0.0
        for item in sorted(shared_by[s], key=after.get):
            weight = decayed(p["query_decay"], p["query_scale"], after[item], len(looked_at))
            found += weight * (rarity(item) ** p["idf_similarity"] if p["idf_similarity"] else 1.0)
        found *= len(sessions[s]) ** -p["length_norm"] if p["length_norm"] else 1.0
        if p["recency"]:
            seconds = [(starts[t] - starts[0]) // 1_000 for t in (compared[0], s)]
            found *= math.exp(-(seconds[0] - seconds[1]) * 1_000 / p["recency"])
        return found

    voting = sorted(compared, key=lambda s: (-similarity(s), -s))[: p["neighbours"]]
    total = [0.0] * n_items
    for s in sorted(voting, reverse=True):
        if similarity(s) == 0:
            continue
        anchors = sorted(shared_by[s], key=after.get)
        own: dict[int, list[float]] = {}
        for place, item in enumerate(sessions[s]):
            gets = 0.0
            for anchor in anchors[:1] if p["anchor"] == "last" else anchors:
                weights = [0.0]
                for shared in (shared for shared, held in enumerate(sessions[s]) if held == anchor):
                    distance = abs(place - shared)
                    if p["reach"] and distance > p["reach"]:
                        continue
                    weight = decayed(p["distance_decay"], p["distance_scale"], distance, len(sessions[s]))
                    weights.append(p["same"] if distance == 0 else weight if place > shared else p["before"] * weight)
                gets += decayed(p["anchor_decay"], p["anchor_scale"], after[anchor], len(looked_at)) * max(weights)
            own.setdefault(item, []).append(similarity(s) ** p["sharpness"] * gets)
        for item, votes in own.items():
            for vote in [max(votes)] if p["repeats"] == "best" else votes:
                total[item] += vote
    for item in range(n_items):
        if p["idf_score"]:
            total[item] *= rarity(item) ** p["idf_score"]
        if item in after:
            total[item] *= p["own"]
    return total


def scores(
    sessions: Sequence[Sequence[int]],
    starts: Sequence[int] | None,
    n_items: int,
    sessions_per_item: int,
    query: Sequence[int],
    **given: Any,
) -> list[float]:
    """The score of every item."""
    p = DEFAULTS | given
    total = voted(sessions, starts, n_items, sessions_per_item, query, **p)
    looked_at = [item for item in query if item >= 0][-p["max_length"] :]
    found = [item for item in range(n_items) if total[item] > 0 and item not in looked_at]
    best = sorted(found, key=lambda item: (-np.float32(total[item]), item))[: p["expand"]]
    second = voted(sessions, starts, n_items, sessions_per_item, best[::-1], **p)
    if max(second) > 0:
        factor = max(total) * p["expand_weight"] / max(second)
        total = [one + factor * other for one, other in zip(total, second, strict=True)]
    clicks = [sum(session.count(item) for session in sessions) for item in range(n_items)]
    return [total[item] if total[item] > 0 else -1 / (1 + clicks[item]) for item in range(n_items)]
