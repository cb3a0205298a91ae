"""Session-kNN: what the past sessions most like the current one recommend.

An `Index` keeps every session, and for every item its most recent sessions, as VMIS-kNN does (Kersbergen et al., "Serenade", SIGMOD
2022). `Parameters` span what VS-kNN (Ludewig & Jannach, UMUAI 2018), STAN (Garg et al., SIGIR 2019) and V-STAN (Ludewig et al., UMUAI
2021) differ in; which of their formulas can be set is said below. A query is its last `max_length` known clicks and no more: what was
clicked before them is not compared, and nowhere below does the query hold it. Of these clicks, oldest first, the last one has the
distance 0:

1. *Compared* are the most recent sessions that hold one of its items (`sample` of them), as far as these are listed with the item.
2. The *similarity* of a session is the sum over the items they share of `query_decay(distance) * rarity ** idf_similarity`, with
   `rarity = ln(1 + sessions / sessions with the item)`, divided by `clicks ** length_norm`, and multiplied by
   `exp(-(t - time) / recency)`, with t the time of the most recent session compared.
3. The most similar ones (`neighbours`) *vote* for each of their clicks, with `similarity ** sharpness` times what the click gets around
   the item that is shared: `distance_decay(places between)` behind it, `before` of that ahead of it, and `same` for itself. The shared
   item is the one clicked last in the query (`anchor="last"`), or what a click gets around each of them is added (`"all"`), both times
   `anchor_decay(distance)`. Where a session holds the shared item several times, a click gets the most that one of the places gives it.
4. An item's *score* is the sum of its votes times `rarity ** idf_score`, and times `own` where the query holds it.
5. With `expand`, the so many best items that the query does not hold are asked in a *second round*, as a session that ends with the
   best of them, for what the neighbours of the neighbours know. That session too is its last `max_length` clicks: of more, the best
   `max_length` items are asked. In its round, it is the query: `own` multiplies the scores of the items asked. Its scores are scaled so
   that the highest one is the first round's highest times `expand_weight`, and added.
6. Items without a vote score -1 / (1 + clicks), so that they follow by their clicks.

Of the published formulas, up to a factor that is the same for all items of a query, and with all else at its default:

- *VS-kNN*: `query_decay="length"`, `idf_similarity=0`, `length_norm=0`, `distance_decay="none"`, `before=1`, and `anchor_decay="none"`, or
  `"harmonic"` of scale 1 for the 1 / steps of session-rec, its published code. Neither its logarithmic and quadratic weights can be set,
  nor its idf, which multiplies a score by `1 + weight * ln(sessions / clicks)`.
- *STAN*: `query_decay` and `distance_decay="exponential"`, `recency`, `idf_similarity=0`, `before=1`; as published where no session holds
  an item twice.
- *V-STAN*: STAN with `anchor_decay="exponential"`, without its idf, which is that of VS-kNN; `idf_score` is another.

Apart from these, session-rec votes around the query's item that the neighbour clicked last, where here it is the shared item that the
query clicked last; divides by a session's different items, where here it is by its clicks; takes the last place of an item that a
session holds several times, where here it is the one that gives most; and dates sessions by their last click, where here it is by their
start. That ages are counted from the most recent session compared, and not from the query, is a common factor.

Of sessions equally similar the more recent one is the neighbour; of those that start together, the later one in the table is the more
recent. Of items with equal scores the smaller number comes first. Sums are made in double precision in the order of the sessions:
results depend neither on the number of threads nor on the other queries of a call. Other Python threads run meanwhile.

Shapes: Q queries, V items, S sessions, C clicks, K items of a list. `queries` and `exclude` are three arrays: list q is
`items[begins[q]:ends[q]]`; lists may overlap, as a session's prefixes do. An item of -1 is not known, and skipped.

Examples
--------
>>> import numpy as np
>>> from rust_sessionizer.neighbours import Index, Parameters
>>> clicks = np.array([0, 1, 2, 0, 1, 3, 4, 3], np.int32)
>>> index = Index.build(clicks, np.array([0, 3, 6, 8]), n_items=5, threads=1)
>>> index
<Index: 3 sessions, 8 clicks, 5 items>
>>> queries = np.array([0, 1], np.int32), np.array([0]), np.array([2])
>>> behind = Parameters(same=0, before=0.2)
>>> items, scores = index.recommend(queries, 3, behind)
>>> items
array([[2, 3, 0]], dtype=int32)
>>> index.rank(queries, np.array([4], np.int32), behind).ranks
array([5])
"""

from os import PathLike
from typing import Any, Literal, final

import numpy as np

from rust_sessionizer import SessionizerError
from rust_sessionizer.ranking import Ranks

__all__ = ["Index", "IndexFileError", "Parameters"]

_Array = np.ndarray[Any, Any]
_Lists = tuple[_Array, _Array, _Array]
_Decay = Literal["none", "length", "linear", "harmonic", "exponential"]

class IndexFileError(SessionizerError):
    """A file is no index, or no longer what was written; the message names it."""

@final
class Parameters:
    """How the sessions most like a query are found, and how they vote; see the module.

    A decay is a weight that falls with a distance d: `none` 1, `length` 1 - d / length, `linear` 1 - d / scale, 0 at the least,
    `harmonic` 1 / (1 + d / scale), `exponential` exp(-d / scale).

    Parameters
    ----------
    max_length
        Last known clicks of a query that are looked at, 1 to 64; all others are not the query's, for `own` and `expand` either. Also the
        most items that the second round asks.
    sample
        Sessions that are compared; 0: all.
    neighbours
        Sessions that vote.
    query_decay, query_scale
        What an item counts in the similarity, by the clicks after its last one. `length` is that of what is looked at.
    idf_similarity, idf_score
        Powers of an item's rarity, 0 to 4.
    length_norm
        The power of a session's length that its similarity is divided by, 0 to 4; 0.5 is the cosine's.
    recency
        Milliseconds in which a session's similarity falls to 1/e; 0: none.
    sharpness
        The power of the similarity by which a session votes, 0 to 4.
    anchor
        Which of the shared clicks vote.
    anchor_decay, anchor_scale
        What the vote around a shared item counts, by the clicks after its last one in the query.
    distance_decay, distance_scale
        What a click gets, by its distance to the shared one in the session that votes. `length` is the session's.
    reach
        Farthest clicks from the shared one that get anything; 0: all.
    before, same
        What clicks ahead of the shared one get of what they would get behind it, and what the shared one gets; 0 to 1000.
    repeats
        Whether an item that a session holds several times gets the best of these votes, or their sum.
    own
        What the scores of the query's items are multiplied by, 0 to 1000: of those among its last `max_length` clicks.
    expand, expand_weight
        Items that are asked in a second round, 0 to 64, none at 0 and never more than `max_length`, and what that counts, 0 to 1000.

    Raises
    ------
    SettingError
        If a setting is out of its range.
    """

    def __new__(
        cls,
        *,
        max_length: int = 20,
        sample: int = 5_000,
        neighbours: int = 500,
        query_decay: _Decay = "exponential",
        query_scale: float = 2.0,
        idf_similarity: float = 1.0,
        length_norm: float = 0.5,
        recency: int = 0,
        sharpness: float = 1.0,
        anchor: Literal["last", "all"] = "last",
        anchor_decay: _Decay = "none",
        anchor_scale: float = 2.0,
        distance_decay: _Decay = "exponential",
        distance_scale: float = 2.0,
        reach: int = 0,
        before: float = 0.5,
        same: float = 1.0,
        repeats: Literal["best", "sum"] = "best",
        own: float = 1.0,
        idf_score: float = 0.0,
        expand: int = 0,
        expand_weight: float = 0.1,
    ) -> Parameters: ...

@final
class Index:
    """Sessions, and the most recent ones of every item; queries from several Python threads may run at once."""

    @staticmethod
    def build(
        items: _Array,
        offsets: _Array,
        *,
        n_items: int,
        starts: _Array | None = None,
        sessions_per_item: int = 0,
        threads: int,
    ) -> Index:
        """Index a log.

        Parameters
        ----------
        items : int32 [C]
            The items clicked, 0 to `n_items` - 1, session by session, the oldest session first.
        offsets : int64 [S + 1]
            Where each session begins; the last entry is C.
        n_items
            V.
        starts : int64 [S], optional
            Milliseconds at which each session starts, never falling; kept to the second. `Parameters.recency` needs them.
        sessions_per_item
            Most recent sessions listed an item; 0: all.
        threads
            Threads that work, the calling one included.

        Raises
        ------
        ColumnError
            If an array is of the wrong type or shape, names an item that there is not, or sessions are not in order.
        SizeError
            If there are 2**31 items or 2**32 clicks or sessions, or the log spans 136 years.
        SettingError
            If a setting is out of its range.
        """

    @staticmethod
    def open(path: str | PathLike[str], *, threads: int = 1) -> Index:
        """Map what `save` wrote into memory, once it has been read through and found unaltered; processes share it.

        Raises
        ------
        IndexFileError
            If the file is no index, was shortened or altered, or is of another version or order of bytes.
        OSError
            If it cannot be read.
        """

    def save(self, path: str | PathLike[str]) -> None:
        """Write the index to a file, which appears whole or not at all.

        Raises
        ------
        OSError
            If it cannot be written.
        """

    @property
    def n_items(self) -> int:
        """V."""
    @property
    def n_sessions(self) -> int:
        """S."""
    @property
    def n_clicks(self) -> int:
        """C."""
    @property
    def nbytes(self) -> int:
        """Bytes of the index, in memory as in its file."""
    @property
    def has_times(self) -> bool:
        """Whether it was built with the sessions' starts."""
    def recommend(
        self,
        queries: _Lists,
        k: int,
        parameters: Parameters,
        *,
        exclude: _Lists | None = None,
        candidates: _Array | None = None,
        threads: int = 1,
    ) -> tuple[_Array, _Array]:
        """The k best items of each query.

        Parameters
        ----------
        queries : (items int32, begins int64 [Q], ends int64 [Q])
            Sessions so far.
        k
            1 to V.
        exclude : (items int32, begins int64 [Q], ends int64 [Q]), optional
            Items that each query leaves out.
        candidates : int32, optional
            Items to choose from.

        Returns
        -------
        items : int32 [Q, k]
            Best first; -1 where there are no more.
        scores : float32 [Q, k]
            -inf where there is no item.

        Raises
        ------
        ColumnError
            If an array is of the wrong type or shape, or names an item that there is not.
        SettingError
            If a setting is out of its range, or `recency` is asked for and the index has no times.
        """

    def rank(
        self,
        queries: _Lists,
        targets: _Array,
        parameters: Parameters,
        *,
        length: int = 0,
        exclude: _Lists | None = None,
        threads: int = 1,
    ) -> Ranks:
        """How many items score at least as high as each query's target (int32 [Q]), and the `length` best items of each query.

        A target that is left out has the rank 2**31 - 1. Raises as `recommend`.
        """

    def score(self, queries: _Lists, candidates: _Array, parameters: Parameters, *, threads: int = 1) -> _Array:
        """Scores float32 [Q, K] of each query's own candidates (int32 [Q, K]); -inf of -1. Raises as `recommend`."""

    def score_all(self, queries: _Lists, parameters: Parameters, *, threads: int = 1) -> _Array:
        """Scores of all items: float32 [Q, V]. Raises as `recommend`."""
