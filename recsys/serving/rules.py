"""What may be recommended, beside what the model ranks: items left out, items on sale, categories, diversity.

Shapes: V items, C candidates.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.errors import ConfigurationError


@dataclass(frozen=True)
class Rules:
    """What a request asks of its answers.

    Attributes
    ----------
    exclude
        Ids of items that are left out.
    categories
        Only items of these; None: of any.
    available
        Whether only items that are on sale are recommended, where the server knows which are.
    diversity
        From 0, the model's ranking, to 1, difference alone; None: the server's own.
    """

    exclude: tuple = ()
    categories: tuple[str, ...] | None = None
    available: bool = True
    diversity: float | None = None


PLAIN = Rules()
"""Nothing but what the server itself asks."""


class ItemList:
    """A file of item ids, read again whenever it changes.

    A Parquet or CSV file has a column `item_id`, any other an id a line. Ids that the vocabulary does not hold are passed over.

    Parameters
    ----------
    path
        The file.
    index
        Item index by id.
    key
        The configuration's name for it, for errors.
    may_be_empty
        Whether it may hold nothing. A list of what is on sale may not: it would be one that is being written.
    """

    def __init__(self, path: Path, index: dict[Any, int], key: str, may_be_empty: bool = False) -> None:
        self.path, self.key, self._may_be_empty = path, key, may_be_empty
        self._index = index
        self._text = not index or isinstance(next(iter(index)), str)
        self._seen: tuple | None = None
        self.mask = np.zeros(len(index), dtype=bool)  # [V]
        self.read()

    def _stamp(self) -> tuple:
        found = self.path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def changed(self) -> bool:
        """Whether the file is another one than the one that was read."""
        try:
            return self._stamp() != self._seen
        except OSError:
            return True

    def read(self) -> None:
        """Take the file as it is now; on an error what was read before stays.

        Raises
        ------
        ConfigurationError
            If it cannot be read, or holds no id of the vocabulary.
        """
        try:
            stamp = self._stamp()
            ids = self._ids()
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigurationError(f"{self.key}: {self.path} cannot be read as a list of item ids ({reason})") from None
        mask = np.zeros(len(self._index), dtype=bool)
        mask[[self._index[item] for item in ids if item in self._index]] = True
        if not mask.any() and (ids or not self._may_be_empty):
            raise ConfigurationError(f"{self.key}: {self.path} holds no item that the model knows; it should list the shop's item ids")
        self.mask, self._seen = mask, stamp

    def _ids(self) -> list:
        match self.path.suffix:
            case ".parquet":
                column = pl.read_parquet(self.path, columns=["item_id"])["item_id"]
            case ".csv":
                column = pl.read_csv(self.path, columns=["item_id"], infer_schema=False)["item_id"]
            case _:
                lines = (line.strip() for line in self.path.read_text(encoding="utf-8").splitlines())
                column = pl.Series("item_id", [line for line in lines if line], dtype=pl.String)
        column = column.drop_nulls()
        return column.cast(pl.String if self._text else pl.Int64).to_list()


def most_diverse(scores: np.ndarray, likeness: np.ndarray, k: int, diversity: float) -> np.ndarray:
    """Positions of `k` candidates by maximal marginal relevance, the first chosen first.

    Each next one is that with the largest (1 - diversity) · relevance - diversity · (its largest likeness to those chosen), where
    relevance is the score brought to 0 to 1 over the candidates (Carbonell and Goldstein, SIGIR 1998).

    Parameters
    ----------
    scores : [C]
        The model's, best first.
    likeness : [C, C]
        Of every two candidates, at most 1.
    k
        How many.
    diversity
        0 keeps the order.
    """
    spread = float(scores[0] - scores[-1])
    relevance = (scores - scores[-1]) / spread if spread > 0 else np.ones(len(scores))
    chosen = np.zeros(min(k, len(scores)), dtype=np.int64)
    left = np.ones(len(scores), dtype=bool)
    nearest = likeness[0].copy()  # the best is chosen first, whatever it is like
    left[0] = False
    for place in range(1, len(chosen)):
        gain = np.where(left, (1 - diversity) * relevance - diversity * nearest, -np.inf)
        chosen[place] = best = int(gain.argmax())
        left[best] = False
        np.maximum(nearest, likeness[best], out=nearest)
    return chosen
