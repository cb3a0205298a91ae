"""Parameters of session-kNN."""

from typing import Literal

from pydantic import Field

from recsys.settings.base import Duration, Section

Decay = Literal["none", "length", "linear", "harmonic", "exponential"]


class SessionKNNParameters(Section):
    """The sessions most like the current one, and what they vote for.

    A decay is a weight that falls with a distance d: `none` 1, `length` 1 - d/length, `linear` 1 - d/scale, `harmonic` 1/(1 + d/scale),
    `exponential` exp(-d/scale).
    """

    sessions_per_item: int = Field(default=5_000, ge=1)
    """Most recent sessions kept an item."""
    sample: int = Field(default=1_000, ge=0)
    """Most recent sessions that share an item with the current one and are compared with it; 0: all."""
    neighbours: int = Field(default=200, ge=1)
    """Most similar of these, which vote."""
    max_length: int = Field(default=20, ge=1, le=64)
    """Last clicks of the current session that are looked at. For everything below the session holds these alone, and the second round asks
    no more items than this."""
    query_decay: Decay = "harmonic"
    """What an item of the current session counts in the similarity, by the clicks after its last one."""
    query_scale: float = Field(default=1.4, gt=0)
    """The scale of `query_decay`, in clicks."""
    idf_similarity: float = Field(default=1.9, ge=0, le=4)
    """The power of a shared item's rarity, ln(1 + sessions / sessions with it), in the similarity; 0: items count alike."""
    length_norm: float = Field(default=0.4, ge=0, le=4)
    """The power of a session's length that its similarity is divided by: 0.5 is the cosine's, 0 none."""
    recency: Duration = 0
    """A session this long before the most recent one that is compared counts 1/e of it; 0: all alike."""
    sharpness: float = Field(default=1.0, ge=0, le=4)
    """The power of the similarity by which a session votes."""
    anchor: Literal["last", "all"] = "all"
    """Whether a session votes around the shared item that was clicked last, or around each shared item."""
    anchor_decay: Decay = "exponential"
    """What the vote around a shared item counts, by the clicks after its last one in the current session."""
    anchor_scale: float = Field(default=1.7, gt=0)
    """The scale of `anchor_decay`, in clicks."""
    distance_decay: Decay = "harmonic"
    """What a click of a voting session gets, by its distance to the shared item."""
    distance_scale: float = Field(default=0.85, gt=0)
    """The scale of `distance_decay`, in clicks."""
    reach: int = Field(default=0, ge=0)
    """Farthest clicks from the shared item that get anything; 0: all."""
    before: float = Field(default=0.8, ge=0, le=1000)
    """What a click before the shared item gets of what it would get behind it."""
    same: float = Field(default=2.6, ge=0, le=1000)
    """What the shared item itself gets."""
    repeats: Literal["best", "sum"] = "best"
    """Whether an item that a session holds several times gets the best of its clicks' votes, or all."""
    own: float = Field(default=2.3, ge=0, le=1000)
    """What the scores of the current session's items are multiplied by, of those among its last `max_length` clicks."""
    idf_score: float = Field(default=0.4, ge=0, le=4)
    """The power of an item's rarity that its score is multiplied by."""
    expand: int = Field(default=5, ge=0, le=64)
    """Best items that are asked in a second round, for what their neighbours know, at most `max_length` of them; 0: there is none."""
    expand_weight: float = Field(default=0.05, ge=0, le=1000)
    """What the second round counts; both are divided by their highest score."""
