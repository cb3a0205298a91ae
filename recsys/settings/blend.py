"""Parameters of models over models: the blend, and the re-ranker on top of it."""

from typing import Any, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from recsys.settings.base import Fraction, Section


class Member(Section):
    """One of the runs that a model over models combines."""

    name: str
    """The run's name."""
    run: str
    """The run, with its seed where the family has one."""
    model: str
    """Its family."""
    seed: int
    """Its seed."""
    parameters: dict[str, Any]
    """Its parameters."""


class BlendParameters(Section):
    """Several models as one: a weighted sum of what they say of the items that any of them lists."""

    combines: SkipJsonSchema[list[Member]] = []
    """What is combined; the workflow fills it in from the run's `members`, and no configuration says it."""
    method: Literal["stacking", "scores", "reciprocal_rank"] = "stacking"
    """What is summed up: each member's reciprocal rank (Cormack et al., SIGIR 2009), its calibrated scores, or both (stacking, Wolpert,
    1992). The weights are learned on validation."""
    candidates: int = Field(default=100, ge=1)
    """Items that each member lists; what none of them lists is only recommended where the rules of serving leave fewer of these than asked
    for."""
    by_length: bool = True
    """Whether the weights depend on how many clicks the session has."""
    rank_constant: float = Field(default=5.0, gt=0)
    """Added to a rank before it is inverted: the larger, the less the first places differ."""
    penalty: float = Field(default=5.0, gt=0)
    """How strongly weights are held to where they start from, in predictions: a distance of 1 weighs as much as that many."""


class RerankerParameters(BlendParameters):
    """Gradient-boosted trees that correct a blend's order by what the session and the items look like (LambdaMART, Burges, 2010)."""

    depth: int = Field(default=100, ge=2)
    """How many of the blend's best items are put in a new order; the others are only recommended where the rules of serving leave fewer of
    these than asked for."""
    rounds: int = Field(default=150, ge=1)
    """Trees."""
    leaves: int = Field(default=31, ge=2)
    """Leaves of a tree."""
    learning_rate: float = Field(default=0.05, gt=0)
    """Weight of a tree."""
    least_in_leaf: int = Field(default=100, ge=1)
    """Least candidates in a leaf."""
    feature_share: float = Field(default=0.7, gt=0, le=1)
    """Share of the features that a tree may look at."""
    recent: Fraction = 0.1
    """The last part of the training sessions, by which an item's trend is told."""
    least_clicks: int = Field(default=10, ge=1)
    """Clicks from which on the trees are told an item's own counts; items with fewer look alike to them. At least what a log that was
    published without its rare items left out: there, few clicks before the cut mean many after it."""
