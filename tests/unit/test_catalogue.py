"""The catalogue: item properties by time, the category tree, and what is told where a shop's files are not what they should be."""

import datetime as dt
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from recsys.catalogue.build import build_catalogue
from recsys.catalogue.contract import CATEGORIES_SCHEMA, properties_schema
from recsys.catalogue.lookup import categories_of, item_depths, names, values
from recsys.catalogue.statements import Statements
from recsys.errors import ConfigurationError, DataError, RecsysError
from recsys.events.sources.demo import build_shop, generate, write_demo
from recsys.events.sources.demo_catalogue import write_demo_catalogue
from recsys.events.sources.demo_layout import CATEGORIES as DEMO_CATEGORIES
from recsys.events.sources.demo_layout import ITEMS as DEMO_ITEMS
from recsys.events.sources.download import download
from recsys.settings.catalogue import CategoryLayout, ItemLayout
from recsys.settings.source import DemoSource

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("RECSYS_DATA_DIR", ROOT.parent / "shared" / "data"))


def day(number: int) -> dt.datetime:
    return dt.datetime(2025, 1, number, tzinfo=dt.UTC)


PROPERTIES = pl.DataFrame(
    [
        (1, "available", "1", day(1)),
        (1, "available", "0", day(5)),
        (1, "category", "pans", None),
        (1, "name", "Pan", None),
        (1, "name", "Iron pan", day(3)),
        (2, "category", "kitchen", day(2)),
        (2, "category", "gone", day(4)),
        (3, "name", "Bowl", day(9)),
    ],
    schema=properties_schema(pl.Int64()),
    orient="row",
)
CATEGORIES = pl.DataFrame([("kitchen", None, 0), ("pans", "kitchen", 1)], schema=CATEGORIES_SCHEMA, orient="row")


class TestLookup:
    def test_the_latest_name_counts(self):
        assert names(PROPERTIES) == {1: "Iron pan", 3: "Bowl"}
        assert names(PROPERTIES.lazy(), [3, 2, 3]) == {3: "Bowl"}
        assert names(PROPERTIES, []) == {}

    def test_nothing_of_the_future_is_seen(self):
        assert dict(values(PROPERTIES, "name", at=day(2)).iter_rows()) == {1: "Pan"}
        assert dict(values(PROPERTIES, "name", at=day(3)).iter_rows()) == {1: "Iron pan"}
        assert dict(values(PROPERTIES, "available", at=day(4)).iter_rows()) == {1: "1"}
        assert dict(categories_of(PROPERTIES, at=day(2)).iter_rows()) == {1: "pans", 2: "kitchen"}

    def test_the_order_of_the_rows_is_of_no_importance(self):
        assert names(PROPERTIES.reverse()) == names(PROPERTIES)

    def test_depth_is_that_of_the_items_category(self):
        assert item_depths(PROPERTIES, CATEGORIES, at=day(2)).rows() == [(1, "pans", 1), (2, "kitchen", 0)]
        assert item_depths(PROPERTIES, CATEGORIES).rows() == [(1, "pans", 1), (2, "gone", None)]

    def test_a_catalogue_without_rows_gives_nothing(self):
        nothing = PROPERTIES.clear()
        assert names(nothing) == {}
        assert item_depths(nothing, CATEGORIES.clear()).columns == ["item_id", "category", "depth"]


def item_layout(**changes) -> ItemLayout:
    return ItemLayout.model_validate({"columns": {"item": "item", "name": "name", "category": "category"}} | changes)


RETAILROCKET = item_layout(
    columns={"item": "itemid", "property": "property", "value": "value", "timestamp": "timestamp"},
    timestamps={"unit": "ms"},
    properties={"categoryid": "category", "available": "available"},
)
TREE = CategoryLayout.model_validate({"columns": {"category": "categoryid", "parent": "parentid"}})


class Built:
    """What `build_catalogue` wrote."""

    def __init__(self, folder: Path, items=(), tree=None, log=(1, 2, 3)):
        events = folder / "events.parquet"
        ids = pl.Series("item_id", list(log), dtype=pl.String if log and isinstance(log[0], str) else pl.Int64)
        ids.to_frame().write_parquet(events)
        self.files = folder / "out" / "properties.parquet", folder / "out" / "categories.parquet"
        self.counts, self.warnings = build_catalogue(items, tree, events, *self.files)
        self.properties, self.categories = (pl.read_parquet(path) for path in self.files)

    @property
    def rows(self) -> list[tuple]:
        return self.properties.with_columns(pl.col("valid_from").dt.epoch("ms")).rows()


@pytest.fixture
def build(tmp_path):
    def run(*files: tuple[str, str | bytes, ItemLayout], tree: str | None = None, log=(1, 2, 3)) -> Built:
        items = []
        for name, content, layout in files:
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
            items.append((tmp_path / name, layout))
        if tree is not None:
            (tmp_path / "tree.csv").write_text("categoryid,parentid\n" + tree)
        return Built(tmp_path, items, None if tree is None else (tmp_path / "tree.csv", TREE), log)

    return run


class TestProperties:
    def test_a_row_an_item_holds_always(self, build):
        built = build(("items.csv", "item,name,category\n2,Bowl,kitchen\n1, Iron pan ,\n1,,pans\n", item_layout()))
        assert built.rows == [
            (1, "category", "pans", None),
            (1, "name", "Iron pan", None),
            (2, "category", "kitchen", None),
            (2, "name", "Bowl", None),
        ]
        assert built.properties.schema == properties_schema(pl.Int64())
        assert built.counts == {"properties": 4, "items": 2, "categories": 0, "log_items": 3, "log_items_known": 2}
        assert built.warnings == []
        assert built.categories.schema == CATEGORIES_SCHEMA
        assert built.categories.height == 0

    def test_several_parts_in_the_layout_of_retailrocket(self, build):
        head = "timestamp,itemid,property,value\n"
        one = head + "3000000000000,1,categoryid,8\n1435460400000,1,categoryid,7\n1435460400000,2,790,n32.0\n1435460400001,3,available,1\n"
        two = (
            head + "1436065200000,1,categoryid,7\n1435460400000,1,available,1\n1435460400000,1,available,0\n1436670000000,1,categoryid,9\n"
        )
        built = build(("part1.csv", one, RETAILROCKET), ("part2.csv", two, RETAILROCKET))
        assert built.rows == [
            (1, "available", "0", 1435460400000),
            (1, "category", "7", 1435460400000),
            (1, "category", "9", 1436670000000),
            (1, "category", "8", 3000000000000),
            (3, "available", "1", 1435460400001),
        ]

    def test_what_repeats_the_value_before_it_is_left_out_and_what_comes_back_is_kept(self, build):
        lines = "".join(f"{1435460400000 + week},{1},categoryid,{value}\n" for week, value in enumerate("aabba"))
        built = build(("part1.csv", "timestamp,itemid,property,value\n" + lines, RETAILROCKET))
        assert [(row[2], row[3] - 1435460400000) for row in built.rows] == [("a", 0), ("b", 2), ("a", 4)]

    def test_of_one_instant_the_last_file_holds(self, build):
        head = "item,name,category\n"
        assert names(
            build(("a.csv", head + "1,Pan,\n1,Pot,\n", item_layout()), ("b.csv", head + "1,Lid,\n", item_layout())).properties
        ) == {1: "Lid"}

    @pytest.mark.parametrize("log", [(1, 2), ("1", "2"), ("001", "A2")])
    def test_ids_are_of_the_logs_type(self, build, log):
        built = build(("items.csv", f"item,name,category\n{log[0]},Pan,\n{log[1]},Bowl,\n", item_layout()), log=log)
        assert names(built.properties) == {log[0]: "Pan", log[1]: "Bowl"}
        assert built.properties.schema["item_id"] == (pl.Int64 if log[0] == 1 else pl.String)

    def test_the_log_itself_may_name_the_items(self, tmp_path):
        log = pl.DataFrame(
            {
                "code": ["a", "b", "a", "a", "b"],
                "text": ["pan", "bowl", "PAN", "?", None],
                "at": [day(1), day(1), day(2), day(3), day(4)],
                "pieces": [1, 1, 1, -1, 1],
            }
        )
        log.write_parquet(tmp_path / "log.parquet")
        layout = item_layout(columns={"item": "code", "name": "text", "timestamp": "at"}, where="pieces > 0")
        built = Built(tmp_path, [(tmp_path / "log.parquet", layout)], log=("a", "b"))
        assert built.properties.rows() == [("a", "name", "pan", day(1)), ("a", "name", "PAN", day(2)), ("b", "name", "bowl", day(1))]

    def test_numbers_of_typed_files_are_written_without_decimals(self, tmp_path):
        pl.DataFrame({"item": [1, 2], "name": [7.0, None], "category": [12.0, 0.5], "there": [True, False]}).write_parquet(
            tmp_path / "i.parquet"
        )
        layout = item_layout(columns={"item": "item", "name": "name", "category": "category", "available": "there"})
        values_of = Built(tmp_path, [(tmp_path / "i.parquet", layout)]).properties.select("item_id", "property", "value").rows()
        assert values_of == [
            (1, "available", "true"),
            (1, "category", "12"),
            (1, "name", "7"),
            (2, "available", "false"),
            (2, "category", "0.5"),
        ]

    def test_json_lines(self, build):
        lines = ['{"item": 1, "name": "Pan \\"XL\\"", "category": null}', '{"item": 2, "category": 7}', "{", '{"item": 3, "name": ""}']
        built = build(("items.jsonl", "\n".join(lines) + "\n", item_layout()))
        assert built.rows == [(1, "name", 'Pan "XL"', None), (2, "category", "7", None)]
        assert "1 of 4 rows are left out, most often because the line is no JSON object (1 times, first in row 3)" in built.warnings[0]

    def test_latin_1_without_a_header(self, build):
        layout = item_layout(columns={"item": 0, "name": 1}, header=False, separator="|", encoding="latin-1", format="csv", quoted=False)
        content = '1|Crème "brûlée|x\n2|Bowl|y\n'.encode("latin-1")
        assert names(build(("u.item", content, layout)).properties) == {1: 'Crème "brûlée', 2: "Bowl"}
        assert names(build(("u.csv.gz", gzip.compress(content), layout)).properties) == {1: 'Crème "brûlée', 2: "Bowl"}

    def test_the_same_files_give_the_same_bytes(self, build):
        files = ("items.csv", "item,name,category\n1,Pan,a\n2,Bowl,b\n", item_layout())
        once = [path.read_bytes() for path in build(files, tree="a,\nb,a\n").files]
        assert [path.read_bytes() for path in build(files, tree="a,\nb,a\n").files] == once
        assert sorted(path.name for path in build(files).files[0].parent.iterdir()) == ["categories.parquet", "properties.parquet"]

    @given(
        st.lists(st.tuples(st.integers(0, 9), st.sampled_from("nc"), st.sampled_from("xyz"), st.none() | st.integers(0, 4)), max_size=60),
        st.integers(1, 12),
        st.booleans(),
    )
    @settings(deadline=None, max_examples=60)
    def test_on_disk_and_in_memory_are_one(self, rows, batch, texts):
        def told(most_rows: int, folder: Path) -> list[tuple]:
            statements = Statements(folder, most_rows)
            schema = properties_schema(pl.String() if texts else pl.Int64())
            for start in range(0, len(rows), batch):
                part = [(f"i{item}" if texts else item, name, value, time) for item, name, value, time in rows[start : start + batch]]
                columns = dict(zip(schema, map(list, zip(*part, strict=True)), strict=True))
                statements.add(pl.DataFrame(columns, schema=schema))
            return [row for table in statements.changes() for row in table.rows()]

        expected, state = [], {}
        for item, name, value, time in rows:
            state[item, name, -1 if time is None else time] = value
        before = None
        for (item, name, time), value in sorted(state.items()):
            if (item, name, value) != before:
                at = None if time < 0 else dt.datetime.fromtimestamp(time / 1000, dt.UTC)
                expected.append((f"i{item}" if texts else item, name, value, at))
            before = (item, name, value)
        with TemporaryDirectory() as one, TemporaryDirectory() as other:
            assert told(1_000, Path(one)) == expected
            assert told(5, Path(other)) == expected


class TestMistakes:
    def test_a_few_rows_that_cannot_be_read_are_told(self, build):
        built = build(("items.csv", "item,name,category\n1,Pan,\nx2,Bowl,\n,Lid,\n3,Pot,\n2,a,b,c\n1,a,\n", item_layout()))
        assert names(built.properties) == {1: "a", 3: "Pot"}
        assert len(built.warnings) == 1
        assert "items.csv: 3 of 6 rows are left out, most often because" in built.warnings[0]

    def test_ids_of_another_type_than_the_logs(self, build):
        with pytest.raises(
            DataError, match=r"items\.csv: 2 of 2 rows are left out, most often because the item is no integer, as the log's .* row 1"
        ):
            build(("items.csv", "item,name,category\nA1,Pan,\nB2,Bowl,\n", item_layout()))

    def test_other_items_than_the_logs(self, build, tmp_path):
        with pytest.raises(
            DataError, match=r"none of its 2 items is among the 2 items of the log, whose ids are texts such as 'A1'; correct source\.cat"
        ):
            build(("items.csv", "item,name,category\n1,Pan,\n2,Bowl,\n", item_layout()), log=("A1", "A2"))
        assert list((tmp_path / "out").iterdir()) == []

    def test_times_in_the_wrong_unit(self, build):
        with pytest.raises(DataError, match=r"the timestamp cannot be read, or lies before 1995 .*source\.catalogue\.items\.timestamps"):
            build(("part1.csv", "timestamp,itemid,property,value\n1435460400,1,categoryid,8\n", RETAILROCKET))

    @pytest.mark.parametrize(
        ("content", "layout", "told"),
        [
            (
                "item,title\n1,Pan\n",
                item_layout(),
                r"there are no columns 'name' \(source\.catalogue\.items\.columns\.name\) and 'category' .*; the file has item, title",
            ),
            ("", item_layout(), "items.csv is empty"),
            ("item,name,category\n", item_layout(), "holds no rows"),
            (b"item,name,category\n1,\xe9\xe9,\n", item_layout(), "no UTF-8"),
            ("item,name,category\n1,a,b\n", item_layout(where="name >"), r"source\.catalogue\.items\.where"),
            ("item,name,category\n1,a,b\n", item_layout(where="name = 'c'"), "says nothing about any item; correct"),
        ],
    )
    def test_files_that_cannot_be_used(self, build, content, layout, told):
        with pytest.raises(RecsysError, match=told):
            build(("items.csv", content, layout))

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"columns": {"item": "a"}}, "nothing is said about the items"),
            ({"columns": {"item": "a", "property": "b"}}, "come together"),
            ({"columns": {"item": "a", "name": "a"}}, "mapped to both 'item' and 'name'"),
            ({"columns": {"item": "a", "name": 1}}, "columns.name is the position 1"),
            ({"properties": {"x": "name"}}, "'properties' renames"),
        ],
    )
    def test_settings_that_cannot_be_meant(self, changes, told):
        with pytest.raises(ValidationError, match=told):
            item_layout(**changes)


class TestTree:
    def test_depth_is_the_way_to_the_root(self, build):
        built = build(tree="lids,pans\nkitchen,\npans,kitchen\ngarden,\nbowls,kitchen\n")
        assert built.categories.rows() == [
            ("garden", None, 0),
            ("kitchen", None, 0),
            ("bowls", "kitchen", 1),
            ("pans", "kitchen", 1),
            ("lids", "pans", 2),
        ]
        assert built.warnings == []

    def test_a_category_with_an_unknown_parent_is_a_root(self, build, tmp_path):
        built = build(tree="pans,kitchen\nlids,pans\nbowls,kitchen\n")
        assert built.categories.rows() == [("bowls", None, 0), ("pans", None, 0), ("lids", "pans", 1)]
        assert built.warnings == [
            f"{tmp_path / 'tree.csv'}: 2 of 3 categories have a parent without a row of its own (first 'pans', whose parent is 'kitchen') "
            "and are taken as roots; add rows for the parents"
        ]

    @pytest.mark.parametrize(
        ("tree", "told"),
        [
            ("a,b\nb,c\nc,b\nd,\n", r"go round in a circle, each with the next one as its parent \('b' → 'c' → 'b'\); empty the parent"),
            ("a,a\n", r"\('a' → 'a'\)"),
            ("a,\nb,a\nb,\n", r"category 'b' has several parents \('a' and none\); a tree has one"),
            (",\n", "names no category"),
        ],
    )
    def test_what_is_no_tree_is_refused(self, build, tmp_path, tree, told):
        with pytest.raises(DataError, match=told):
            build(tree=tree)
        assert not (tmp_path / "out" / "properties.parquet").exists()

    def test_categories_outside_the_tree_are_told(self, build):
        built = build(("items.csv", "item,name,category\n1,,pans\n2,,bowls\n3,,bowls\n", item_layout()), tree="pans,\n")
        assert [warning.partition(": ")[2] for warning in built.warnings] == [
            "1 of the 2 categories of items are not in the tree (first 'bowls', of 2 items), so that their depth is not known; "
            "add rows for them"
        ]

    def test_retailrockets_own_tree(self, tmp_path):
        path = DATA / "retailrocket" / "category_tree.csv"
        if not path.is_file():
            pytest.skip("RECSYS_DATA_DIR (or ../shared/data) holds no retailrocket/category_tree.csv")
        built = Built(tmp_path, tree=(path, TREE))
        assert built.categories.height == 1_669
        assert built.categories.filter(depth=0).height == 25
        assert built.warnings == []
        parent = dict(built.categories.select("category", "parent").iter_rows())

        def steps(category: str) -> int:
            return 0 if parent[category] is None else 1 + steps(parent[category])

        assert all(depth == steps(category) for category, _, depth in built.categories.iter_rows())


class TestDemoShop:
    @staticmethod
    def written(folder: Path, **changes) -> tuple[Path, Path]:
        paths = folder / "items.csv", folder / "categories.csv"
        write_demo_catalogue(DemoSource(**changes), *paths)
        return paths

    def test_the_same_seed_gives_the_same_bytes(self, tmp_path):
        once = [path.read_bytes() for path in self.written(tmp_path, seed=4)]
        assert [path.read_bytes() for path in self.written(tmp_path, seed=4)] == once
        assert [path.read_bytes() for path in self.written(tmp_path, seed=5)] != once

    @pytest.mark.parametrize("items", [50, 187, 2_000, 20_000])
    def test_every_item_has_a_name_of_its_own_and_a_leaf(self, tmp_path, items):
        shop = build_shop(DemoSource(items=items))
        paths = self.written(tmp_path, items=items)
        built = Built(tmp_path, [(paths[0], DEMO_ITEMS)], (paths[1], DEMO_CATEGORIES), log=tuple(shop.ids.tolist()))
        assert built.warnings == []
        assert built.counts["log_items_known"] == items
        assert len(set(names(built.properties).values())) == items
        depths = item_depths(built.properties, built.categories)
        assert depths["depth"].to_list() == [2] * items
        assert depths["category"].n_unique() == len(shop.bounds) - 1

    def test_naming_the_items_leaves_the_log_as_it_is(self, tmp_path):
        small = DemoSource(events=2_000, items=300, visitors=200, days=4, parts=2)
        files = [tmp_path / "with" / Path(file.path).name for file in small.raw_files()]
        download(small, files, tmp_path / "work")
        alone = [tmp_path / file.name for file in files[:2]]
        write_demo(small, alone)
        assert [file.read_bytes() for file in files[:2]] == [file.read_bytes() for file in alone]
        assert [file.name for file in files] == ["demo-0000.csv", "demo-0001.csv", "demo-items.csv", "demo-categories.csv"]
        assert files[2].read_text().startswith("item,name,category\n")
        assert files[3].read_text().startswith("category,parent\n")
        with pytest.raises(ConfigurationError, match=r"4 files \(demo-0000\.csv, .*\), but 2 are named"):
            download(small, alone, tmp_path / "work")

    def test_the_log_is_of_these_items(self, tmp_path):
        small = DemoSource(events=2_000, items=300, visitors=200, days=4, parts=1)
        named = pl.read_csv(self.written(tmp_path, items=300)[0])
        assert pl.concat([rows for _, rows in generate(small)]).join(named, on="item", how="anti").height == 0

    def test_models_of_a_shelf_stand_in_alphabetical_order(self, tmp_path):
        shop = build_shop(DemoSource())
        named = dict(pl.read_csv(self.written(tmp_path)[0]).select("item", "name").iter_rows())
        leaf = [named[item] for item in shop.ids[shop.member[shop.bounds[3] : shop.bounds[4]]].tolist()]
        assert leaf == sorted(leaf)
        assert len({name.split()[0] for name in leaf}) == 5


def test_the_command_reads_items_and_tree(tmp_path):
    (tmp_path / "items.csv").write_text("item,name,category\n1,Pan,pans\n")
    (tmp_path / "tree.csv").write_text("categoryid,parentid\npans,kitchen\n")
    pl.DataFrame({"item_id": [1, 2]}).write_parquet(tmp_path / "log.parquet")
    layouts = {"items": [{"layout": item_layout().model_dump(mode="json")}], "tree": {"layout": TREE.model_dump(mode="json")}}
    command = ["catalogue", "--items", "items.csv", "--tree", "tree.csv", "--events", "log.parquet", "--settings", json.dumps(layouts)]
    done = subprocess.run(
        [sys.executable, "-m", "recsys", *command, "--properties", "p.parquet", "--categories", "c.parquet"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 properties of 1 items, 1 categories; 1 of the 2 items of log are known\n"
    assert "recsys: warning: tree.csv: 1 of 1 categories have a parent without a row" in done.stderr
    assert names(pl.read_parquet(tmp_path / "p.parquet")) == {1: "Pan"}
