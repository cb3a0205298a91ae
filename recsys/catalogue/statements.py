"""What item files state: this item has this value from this instant on. Collected batch by batch, on disk once there are many."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

MOST_ROWS = 4_000_000
"""Statements held in memory before they go to disk."""
BUCKETS = 64
"""Files that statements are divided into on disk, by ranges of item ids; each is small enough to be ordered in memory."""

_ONE = ["item_id", "property", "valid_from"]


class Statements:
    """Statements in the order they were made.

    At one instant the last one counts. What is stated does not have to come in the order of time, so that whether a statement changes
    anything is known only once all of them are there.

    Parameters
    ----------
    folder : Path
        An empty folder for what does not fit the memory.
    most_rows : int
        Statements held in memory.
    """

    def __init__(self, folder: Path, most_rows: int = MOST_ROWS):
        self.folder = folder
        self.most_rows = most_rows
        self._held: list[pl.DataFrame] = []
        self._rows = 0
        self._bounds: pl.Series | None = None
        self._files: dict[int, list[Path]] = {}

    def add(self, batch: pl.DataFrame) -> None:
        """Take statements in: `item_id`, `property`, `value`, `valid_from`, later ones below."""
        self._held.append(batch)
        self._rows += batch.height
        if self._rows > self.most_rows:
            self._held = [_last_of_an_instant(self._held)]
            self._rows = self._held[0].height
            if self._rows > self.most_rows // 2:
                self._to_disk()

    def changes(self) -> Iterator[pl.DataFrame]:
        """The statements that change something, ordered by item, property and time; each item whole in one table."""
        if self._files:
            self._to_disk()
            for bucket in sorted(self._files):
                yield _changes([pl.read_parquet(path) for path in self._files[bucket]])
        elif self._held:
            yield _changes(self._held)

    def _to_disk(self) -> None:
        if not self._held:
            return
        table = pl.concat(self._held)
        if self._bounds is None:
            ids = table["item_id"].sort()
            self._bounds = ids.gather([ids.len() * bucket // BUCKETS for bucket in range(1, BUCKETS)]).unique().sort()
        bounds = self._bounds.to_frame("first").with_row_index("bucket", offset=1)
        placed = table.with_row_index("order").sort("item_id", maintain_order=True)
        placed = placed.join_asof(bounds.sort("first"), left_on="item_id", right_on="first", strategy="backward").sort("order")
        for (bucket,), rows in placed.with_columns(pl.col("bucket").fill_null(0)).partition_by("bucket", as_dict=True).items():
            files = self._files.setdefault(int(bucket), [])
            files.append(self.folder / f"{bucket:04d}.{len(files):06d}.parquet")
            rows.select(table.columns).write_parquet(files[-1], compression="zstd")
        self._held, self._rows = [], 0


def _last_of_an_instant(tables: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(tables).unique(_ONE, keep="last", maintain_order=True)


def _changes(tables: list[pl.DataFrame]) -> pl.DataFrame:
    # What holds always comes before everything that has a time.
    ordered = _last_of_an_instant(tables).sort(_ONE, nulls_last=False)
    same = (pl.col(column) == pl.col(column).shift() for column in ("item_id", "property", "value"))
    return ordered.filter(~pl.all_horizontal(same).fill_null(False))
