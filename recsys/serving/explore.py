"""What the page is, and what it asks beside recommendations: a session to begin with, what the shop has, and what items are called."""

import base64
import hashlib
import random
import re
from functools import cache
from importlib import resources
from typing import Any

from recsys.serving.recommender import DEFAULT_K, LARGEST_K, Recommender
from recsys.serving.requests import MOST_CATEGORIES

_POPULAR = 200
_NEXT = 10


@cache
def read_page() -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    """The page, and the headers by which a browser runs its own script and style and no other, and asks only this server."""
    page = resources.files("recsys.serving").joinpath("page.html").read_bytes()
    own = {}
    for tag in ("script", "style"):
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), page, re.DOTALL)
        own[tag] = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in texts)
    policy = (
        f"default-src 'none'; script-src {own['script']}; style-src {own['style']}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, (
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-cache"),
    )


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
            key = int(text) if re.fullmatch(r"-?[0-9]{1,19}", text) else None
        index = recommender.index.get(key)
        name = recommender.names[index] if index is not None and recommender.names is not None else None
        category = recommender.category(index) if index is not None else None
        described.append({"id": text, "known": index is not None, "name": name, "category": category})
    return described


def describe_catalogue(recommender: Recommender) -> dict[str, Any]:
    """How ids travel, how many items there are, what can be asked for, and the largest categories with the number of their items."""
    return {
        "id_type": recommender.id_type,
        "items": len(recommender),
        "available": recommender.available,
        "names": recommender.names is not None,
        "categories": [{"name": name, "items": items} for name, items in recommender.category_sizes()[:MOST_CATEGORIES]],
        "diversity": recommender.can_diversify,
        "k": {"default": DEFAULT_K, "largest": LARGEST_K},
    }
