"""GRU4Rec's states on the CPU: what a server asks of a trained network before it searches items.

Shapes: S sessions, C clicks of all of them, V items, H units of a layer, D width of its input.
"""

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from rust_sessionizer.ranking import ItemIndex

__all__ = ["Network"]

_Array = np.ndarray[Any, Any]

@final
class Network:
    """A trained network (Hidasi et al., ICLR 2016) without what scores items; a session's states do not depend on the others asked.

    Parameters
    ----------
    arrays
        float32 arrays by name: of each layer, numbered from the input on, `weight_input.N` [3H, D], `weight_hidden.N` [3H, H],
        `bias_input.N` [3H] and `bias_hidden.N` [3H], gates stacked as reset, update, new; and `input_table` [V, D], or where there is
        none `item_table`. Without `weight_input.0` the table holds the products with it, [V, 3H]. All are copied.
    items
        Where there is no `input_table`: items whose vectors enter, looked up where the index has them.
    column
        The first of the vectors' entries that enters.
    most_bytes
        The first layer's products with all items, 12 HV bytes (H rounded up to 16), are made at once and held where they take at most
        so many, so that a click's are looked up.

    Raises
    ------
    ColumnError
        If an array is missing, of the wrong type or shape, or holds a number that is not finite.
    SettingError
        If there is no layer or no item, or the column is too far.
    """

    def __new__(cls, arrays: dict[str, _Array], items: ItemIndex | None = None, *, column: int = 0, most_bytes: int = 268_435_456) -> Network: ...
    def states(self, items: _Array, offsets: _Array) -> list[_Array]:
        """The states of each layer, float32 [S, H], after sessions; of an empty session zero. Other Python threads run meanwhile.

        Parameters
        ----------
        items : int32 [C]
            Clicks, session after session.
        offsets : int64 [S + 1]
            Where each session begins; the last entry is C.

        Raises
        ------
        ColumnError
            If an array is of the wrong type or shape, or names an item that there is not.
        SettingError
            If the offsets do not cut the items.
        """
    def step(self, items: _Array, states: Sequence[_Array]) -> list[_Array]:
        """The states after one click more: bit for bit those of the longer sessions.

        Parameters
        ----------
        items : int32 [S]
            The item that each session clicks next.
        states : one float32 [S, H] a layer
            What `states` or `step` gave.

        Raises
        ------
        ColumnError
            If an array is of the wrong type or shape, not finite, or names an item that there is not.
        """
