"""Ranks among all items, where a score is a product of two vectors and a bias.

`rank` makes the scores of a few items for a few queries in registers, compares them there and forgets them: what it holds beside
its arguments is a few megabytes a thread, however many queries and items there are. A score is the same chain of fused
multiplications and additions wherever it is made, so that equal items score alike to the last bit; results do not depend on the
number of threads. Other Python threads run meanwhile.

Shapes: Q queries, V items, H entries of a vector, K items of a list.
"""

from typing import Any, final

import numpy as np

from rust_sessionizer import SessionizerError

__all__ = ["Ranks", "ScoreError", "rank"]

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
