"""What the page asks beside recommendations: a session to begin with, and what items are called."""

import random
from typing import Any

from recsys.serving.recommender import Recommender

_POPULAR = 200
_NEXT = 10


def sample_session(recommender: Recommender, generator: random.Random | None = None) -> list:
    """Item ids of a session that nobody had: a popular item, then some items that the model recommends after each other."""
    generator = generator or random.Random()
    session = [generator.randrange(min(_POPULAR, len(recommender)))]
    for _ in range(generator.randint(0, 4)):
        indices, scores = recommender.scorer.top([session], min(_NEXT, len(recommender)))
        listed = [int(index) for index, score in zip(indices[0], scores[0], strict=True) if score > float("-inf")]
        if not listed:
            break
        session.append(generator.choice(listed))
    return recommender.ids[session].tolist()


def describe_items(recommender: Recommender, asked: list[str]) -> list[dict[str, Any]]:
    """`id`, `name` and `category` (null where the shop does not have them) and `known` of items, whose ids are texts."""
    described = []
    for text in asked:
        key: Any = text
        if recommender.id_type == "integer":
            key = int(text) if text.removeprefix("-").isdecimal() and len(text) < 20 else None
        index = recommender.index.get(key)
        name = recommender.names[index] if index is not None and recommender.names is not None else None
        category = recommender.category(index) if index is not None else None
        described.append({"id": text, "known": index is not None, "name": name, "category": category})
    return described
