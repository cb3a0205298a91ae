"""Ranks among all items, and the best of them, where a score is a product of two vectors and a bias.

`rank` makes the scores of a few items for a few queries in registers, compares them there and forgets them: what it holds beside
its arguments is a few megabytes a thread, however many queries and items there are. A score is the same chain of fused
multiplications and additions wherever it is made, so that equal items score alike to the last bit; results do not depend on the
number of threads. Other Python threads run meanwhile.

`ItemIndex` finds the best items where only these are asked for, as a server does.

Shapes: Q queries, V items, H entries of a vector, K items of a list.
"""

from typing import Any, final

import numpy as np

from rust_sessionizer import SessionizerError

__all__ = ["ItemIndex", "Ranks", "ScoreError", "rank"]

_Array = np.ndarray[Any, Any]

class ScoreError(SessionizerError):
    """A score is not a number; the message names the query and the item."""

@final
class Ranks:
    """Where the targets stand, and what is recommended."""

    @property
    def ranks(self) -> _Array:
        """int64 [Q]: how many items score at least as high as the target, itself included; 2**31 - 1 where it is left out."""
    @property
    def items(self) -> _Array:
        """int32 [Q, K]: the best items, best first, the smaller index first among equals; -1 where there are no more."""

@final
class ItemIndex:
    """Items to be searched by their vectors: exact, mostly in numbers of one byte.

    Beside the table, which is copied, the index holds every entry a second time as a whole number of one byte. By Cauchy and Schwarz,
    those bound each score from both sides; an item whose upper bound is below the lower bounds of K others is none of the best, and the
    few that are left are scored by their float32 vectors. What is found is therefore what scoring every item finds, also where items
    score alike, and does not depend on the processor, nor on what is asked in the same call.

    Parameters
    ----------
    table : float32 [V, H]
        The items' vectors; finite.
    bias : float32 [V]
        Added to the items' scores; -inf where an item may not be found.

    Raises
    ------
    ColumnError
        If an array is of the wrong type or shape, or holds a number that is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> index = ItemIndex(np.eye(3, 2, dtype=np.float32), np.array([0, 0.5, 0.25], np.float32))
    >>> items, scores = index.search(np.array([[1, 0]], np.float32), 2)
    >>> items.tolist(), scores.tolist()
    ([[0, 1]], [[1.0, 0.5]])
    """

    def __new__(cls, table: _Array, bias: _Array) -> ItemIndex: ...
    def search(
        self, queries: _Array, k: int, *, excluded: tuple[_Array, _Array, _Array] | None = None
    ) -> tuple[_Array, _Array]:
        """The K = `k` best items of each query, in the calling thread; other Python threads run meanwhile.

        Parameters
        ----------
        queries : float32 [Q, H]
            Finite.
        k
            1 or more.
        excluded
            As in `rank`.

        Returns
        -------
        items : int32 [Q, K]
            Best first, the smaller index first among equals; -1 where there are no more.
        scores : float32 [Q, K]
            Their scores; -inf where there is no item.

        Raises
        ------
        ScoreError
            If a score is NaN, which only vectors can bring about whose product exceeds float32.
        ColumnError
            If an array is of the wrong type or shape, not finite, or names an item that there is not.
        SettingError
            If `k` is 0.
        """
    def __len__(self) -> int:
        """V."""

def rank(
    outputs: _Array,
    table: _Array,
    bias: _Array,
    targets: _Array,
    *,
    excluded: tuple[_Array, _Array, _Array] | None = None,
    length: int = 0,
    threads: int,
) -> Ranks:
    """Rank each query's target among all items, by `outputs @ table.T + bias`.

    Parameters
    ----------
    outputs : float32 [Q, H]
        The queries' vectors.
    table : float32 [V, H]
        The items' vectors.
    bias : float32 [V]
        Added to the items' scores.
    targets : int32 [Q]
        The item whose rank each query asks for.
    excluded : (begins int64 [Q], ends int64 [Q], items int32), optional
        Query q leaves out `items[begins[q]:ends[q]]`: they are not counted, not listed, and not to be found as targets. The ranges
        may overlap, as those of a session's prefixes do.
    length
        K; 0 makes no lists.
    threads
        Threads that work, the calling one included.

    A score of -inf says the same as `excluded` does.

    Raises
    ------
    ScoreError
        If a score is NaN: of the queries concerned, one of the first.
    ColumnError
        If an array is of the wrong type or shape, or names an item that there is not.
    SettingError
        If a setting is out of its range.
    """
