"""What a fit is given beside its sessions: the categories of its time, and the folders of its members."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.catalogue.contract import properties_schema
from recsys.errors import ConfigurationError
from recsys.sessions.table import Sessions
from recsys.training.run import category_codes, member_folders

DAY = 86_400_000


def properties(path: Path, *rows: tuple[int, str, str, int | None]) -> Path:
    """Of item, property, value and the day from which on it holds, or always."""
    schema = properties_schema(pl.Int64())
    since = [None if day is None else dt.datetime.fromtimestamp(day * DAY / 1000, tz=dt.UTC) for *_, day in rows]
    item, property, value, _ = zip(*rows, strict=True)
    columns = {"item_id": item, "property": property, "value": value, "valid_from": since}
    pl.DataFrame({name: columns[name] for name in schema}, schema=schema).write_parquet(path)
    return path


ITEMS = pl.DataFrame({"index": [1, 0, 2], "item_id": [11, 10, 12]}, schema={"index": pl.Int32, "item_id": pl.Int64})


def sessions(*days: int) -> Sessions:
    starts = np.array(days, np.int64) * DAY
    return Sessions(np.zeros(2 * len(days), np.int32), np.arange(0, 2 * len(days) + 1, 2), starts=starts)


def test_categories_are_those_known_when_the_last_training_session_started(tmp_path: Path) -> None:
    path = properties(
        tmp_path / "properties.parquet",
        (10, "category", "pans", 1),
        (10, "category", "pots", 5),
        (12, "category", "pots", None),
        (11, "category", "lids", 6),
        (11, "name", "Lid", None),
    )
    codes = category_codes(path, ITEMS, sessions(0, 4))
    assert codes is not None
    assert codes.tolist() == [0, -1, 1]  # 10 is still a pan, 11 is not yet known, 12 always was a pot
    codes = category_codes(path, ITEMS, sessions(0, 7))
    assert codes is not None
    assert codes[0] == codes[2] != codes[1] >= 0


def test_a_shop_without_categories_gives_none(tmp_path: Path) -> None:
    path = properties(tmp_path / "properties.parquet", (10, "name", "Pan", None), (11, "category", "lids", 6))
    assert category_codes(path, ITEMS, sessions(0, 5)) is None  # known from the next day on only
    assert category_codes(path, ITEMS, sessions()) is None


def test_members_have_the_folders_in_their_order() -> None:
    run = {"run": "blend", "parameters": {"combines": [{"name": "gru4rec"}, {"name": "knn"}]}}
    folders = [Path("a"), Path("b")]
    assert member_folders(run, folders) == {"gru4rec": Path("a"), "knn": Path("b")}
    with pytest.raises(ConfigurationError, match=r"the run blend has 2 members \(gru4rec, knn\), but 1 folders were given"):
        member_folders(run, folders[:1])
    assert member_folders({"run": "popularity", "parameters": {}}, []) == {}
