"""Reading a shop's log: every format and way to write a time, what is refused and why, and what a user is told."""

import datetime as dt
import gzip
import json
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recsys.errors import ConfigurationError, DataError
from recsys.events import ingest as ingest_module
from recsys.events.contract import REASONS, REMEDIES, Reading
from recsys.events.ids import whole_number
from recsys.events.ingest import ingest
from recsys.events.sources.demo import write_demo
from recsys.events.sources.demo_layout import LAYOUT
from recsys.events.timestamps import timestamp_expression
from recsys.settings.checks import Checks
from recsys.settings.layout import Timestamps
from recsys.settings.source import DemoSource, FilesSource

COLUMNS = {"item": "item", "timestamp": "time", "visitor": "visitor"}
LENIENT = Checks(quarantined={"threshold": 1.0})
T0 = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
MS = int(T0.timestamp() * 1000)


def layout(**changes) -> FilesSource:
    return FilesSource.model_validate({"type": "files", "paths": "unused", "columns": COLUMNS} | changes)


class Result:
    """What `ingest` wrote."""

    def __init__(self, path: Path, source, checks: Checks = LENIENT):
        out = path.parent / "out"
        self.files = [out / f"{path.name.split('.')[0]}{ending}" for ending in (".parquet", ".quarantine.parquet", ".quality.json")]
        self.summary = ingest(path, source, checks, *self.files, dated=source is not LAYOUT)
        self.events = pl.read_parquet(self.files[0])
        self.quarantine = pl.read_parquet(self.files[1])

    @property
    def reasons(self) -> dict[int, str]:
        return dict(self.quarantine.select("row", "reason").iter_rows())


@pytest.fixture
def read(tmp_path):
    def run(content: str | bytes | pl.DataFrame, name: str = "log.csv", checks: Checks = LENIENT, **changes) -> Result:
        path = tmp_path / name
        if isinstance(content, pl.DataFrame):
            content.write_parquet(path)
        else:
            content = content.encode() if isinstance(content, str) else content
            path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return Result(path, layout(**changes), checks)

    return run


ROWS = [(1, MS, 10), (2, MS + 1000, 11), (1, MS + 2000, 10)]
CSV = "visitor,time,item\n" + "".join(f"{visitor},{time},{item}\n" for visitor, time, item in ROWS)
JSONL = "".join(json.dumps({"visitor": visitor, "time": time, "item": item}) + "\n" for visitor, time, item in ROWS)
TABLE = pl.DataFrame(ROWS, schema=["visitor", "time", "item"], orient="row")
EXPECTED = pl.DataFrame(
    {
        "visitor_id": [1, 2, 1],
        "session": pl.Series([None, None, None], dtype=pl.Int64),
        "item_id": [10, 11, 10],
        "event": ["view"] * 3,
        "timestamp": pl.Series([row[1] for row in ROWS], dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
    }
)


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "content", "changes"),
        [
            ("log.csv", CSV, {}),
            ("log.csv.gz", CSV, {}),
            ("log.tsv", CSV.replace(",", "\t"), {}),
            ("log.tsv.gz", CSV.replace(",", "\t"), {}),
            ("log.csv", CSV.replace(",", ";"), {"separator": ";"}),
            ("log.data", CSV, {"format": "csv"}),
            ("log.csv", CSV.replace("\n", "\r\n"), {}),
            ("log.csv", "\ufeff" + CSV, {}),
            ("log.csv", CSV.rstrip("\n"), {}),
            ("log.jsonl", JSONL, {}),
            ("log.jsonl.gz", JSONL, {}),
            ("log.ndjson", JSONL.replace("\n", "\n\n"), {}),
            ("log.parquet", TABLE, {}),
            ("log.2024[1].csv", CSV, {}),
            (
                "log.csv",
                CSV.split("\n", 1)[1],
                {"header": False, "columns": {"item": 2, "timestamp": 1, "visitor": 0}},
            ),
        ],
    )
    def test_each_format_gives_the_same_events(self, read, name, content, changes):
        result = read(content, name, **changes)
        assert result.events.schema == EXPECTED.schema
        assert result.events.equals(EXPECTED)
        assert result.quarantine.height == 0

    def test_several_gzip_members_are_one_file(self, tmp_path):
        path = tmp_path / "log.csv.gz"
        first, rest = CSV.split("\n", 2)[:2], CSV.split("\n", 2)[2]
        path.write_bytes(gzip.compress(("\n".join(first) + "\n").encode()) + gzip.compress(rest.encode()))
        assert Result(path, layout()).events.equals(EXPECTED)

    def test_quoted_fields_hold_separators_and_line_ends(self, read):
        result = read(f'visitor,time,item\n1,{MS},"a,""b""\nc"\n')
        assert result.events["item_id"].to_list() == ['a,"b"\nc']

    def test_value_and_quantity_follow_where_mapped(self, read):
        result = read(f"visitor,time,item,price,n\n1,{MS},5,2.50,3\n1,{MS},6,,nan\n", columns=COLUMNS | {"value": "price", "quantity": "n"})
        assert result.events.columns == ["visitor_id", "session", "item_id", "event", "timestamp", "value", "quantity"]
        assert result.events["value"].to_list() == [2.5, None]
        assert result.events["quantity"].to_list() == [3.0, None]

    def test_a_log_with_sessions_needs_no_visitor(self, read):
        result = read(f"s,time,item\n7,{MS},5\n", columns={"item": "item", "timestamp": "time", "session": "s"})
        assert result.events.row(0)[:3] == (None, 7, 5)

    def test_a_field_of_the_name_line_is_kept_in_json_lines(self, read):
        result = read(f'{{"line": 4, "time": {MS}, "visitor": 1}}\n', "log.jsonl", columns=COLUMNS | {"item": "line"})
        assert result.events["item_id"].to_list() == [4]

    def test_rows_keep_their_order_over_several_batches(self, read, monkeypatch):
        monkeypatch.setattr(ingest_module, "BATCH_ROWS", 7)
        rows = [(k % 5, MS + 1000 * (k * 37 % 100), "" if k % 9 == 0 else k) for k in range(100)]
        result = read("visitor,time,item\n" + "".join("{},{},{}\n".format(*row) for row in rows))
        assert result.events["item_id"].to_list() == [k for k in range(100) if k % 9]
        assert result.quarantine["row"].to_list() == [k + 1 for k in range(100) if k % 9 == 0]
        assert result.summary["rows"] == 100

    def test_duplicates_are_kept_and_counted_over_batches(self, read, monkeypatch):
        monkeypatch.setattr(ingest_module, "BATCH_ROWS", 2)
        result = read(CSV + CSV.split("\n", 1)[1] + f"1,{MS},10\n")
        assert result.events.height == 7
        assert result.summary["duplicates"] == 4


class TestIds:
    def types(self, result: Result) -> tuple:
        return tuple(result.events.select("item_id", "visitor_id").dtypes)

    def test_texts_are_integers_only_if_all_of_the_first_rows_are(self, read):
        assert self.types(read(f"visitor,time,item\n1,{MS},5\n2,{MS},6\n")) == (pl.Int64, pl.Int64)
        assert self.types(read(f"visitor,time,item\n1,{MS},5\nx,{MS},6\n")) == (pl.Int64, pl.String)

    @pytest.mark.parametrize("item", ["00123", "+5", "5.0", "1e3", "-0", "99999999999999999999"])
    def test_texts_that_would_change_as_integers_stay_texts(self, read, item):
        assert read(f"visitor,time,item\n1,{MS},{item}\n").events["item_id"].to_list() == [item]

    @pytest.mark.parametrize(("item", "value"), [("0", 0), ("-7", -7), (" 8 ", 8), ("9223372036854775807", 2**63 - 1)])
    def test_integers_are_read_exactly(self, read, item, value):
        assert read(f"visitor,time,item\n1,{MS},{item}\n").events["item_id"].to_list() == [value]

    def test_a_letter_after_the_first_rows_is_refused_and_the_type_stays(self, read, monkeypatch):
        monkeypatch.setattr(ingest_module, "HEAD_ROWS", 3)
        result = read("visitor,time,item\n" + f"1,{MS},5\n" * 3 + f"1,{MS},007\n1,{MS},A1\n1,{MS},6\n")
        assert result.events["item_id"].to_list() == [5, 5, 5, 6]
        assert result.reasons == {4: "the item is no integer", 5: "the item is no integer"}
        assert result.quarantine["item"].to_list() == ["007", "A1"]

    def test_every_part_has_the_type_that_is_configured(self, read):
        digits, letters = f"visitor,time,item\n1,{MS},5\n", f"visitor,time,item\n1,{MS},A5\n"
        assert read(digits, id_types={"item": "string"}).events["item_id"].to_list() == ["5"]
        assert read(letters, id_types={"item": "string"}).events["item_id"].to_list() == ["A5"]
        refused = read(letters, id_types={"item": "integer"})
        assert refused.events.schema["item_id"] == pl.Int64
        assert refused.reasons == {1: "the item is no integer"}

    def test_integers_written_with_decimals_are_read_where_integers_are_configured(self, read):
        assert read(f"visitor,time,item\n17.0,{MS},5\n", id_types={"visitor": "integer"}).events["visitor_id"].to_list() == [17]

    def test_json_texts_of_digits_stay_texts(self, read):
        result = read(f'{{"visitor": "1", "time": {MS}, "item": 5}}\n', "log.jsonl")
        assert self.types(result) == (pl.Int64, pl.String)

    def test_json_ids_of_both_kinds_are_texts(self, read):
        result = read(f'{{"visitor": 1, "time": {MS}, "item": 5}}\n{{"visitor": 1, "time": {MS}, "item": "x"}}\n', "log.jsonl")
        assert result.events["item_id"].to_list() == ["5", "x"]

    @pytest.mark.parametrize(
        ("ids", "expected"),
        [
            (pl.Series([5, 6], dtype=pl.UInt8), [5, 6]),
            (pl.Series([5.0, None], dtype=pl.Float64), [5, None]),
            (pl.Series(["5", "06"], dtype=pl.Categorical), ["5", "06"]),
            (pl.Series(["5", "6"], dtype=pl.String), [5, 6]),
            (pl.Series([5, 2**63 + 1], dtype=pl.UInt64), [5, None]),
            (pl.Series([5.0, 5.5], dtype=pl.Float64), ["5", "5.5"]),
        ],
    )
    def test_parquet_ids_of_other_types(self, read, ids, expected):
        table = pl.DataFrame({"visitor": ids, "time": [MS, MS], "item": [1, 2], "s": [1, 1]})
        result = read(table, "log.parquet", columns=COLUMNS | {"session": "s"})
        found = result.events["visitor_id"].to_list() + [None] * result.quarantine.height
        assert found == expected
        assert set(result.reasons.values()) <= {"the visitor is no integer"}

    @given(st.lists(st.text("0123456789+-. aA", min_size=1, max_size=4), min_size=1, max_size=6))
    def test_integers_are_the_texts_that_python_writes_them_as(self, texts):
        expression = whole_number(pl.col("id"), "auto")
        found = pl.DataFrame({"id": texts}).select(expression).to_series().to_list()

        def obvious(text: str) -> int | None:
            try:
                return int(text) if str(int(text)) == text.strip() else None
            except ValueError:
                return None

        assert found == [obvious(text) for text in texts]


def times_of(values: list, settings: dict, numbers: bool = False, dtype=None) -> list:
    table = pl.DataFrame({"time": pl.Series(values, dtype=dtype)})
    _, expression = timestamp_expression(Path("log"), "time", table.schema["time"], Timestamps(**settings), numbers)
    return table.select(expression.dt.epoch("ms")).to_series().to_list()


class TestTimes:
    @pytest.mark.parametrize(
        ("values", "settings", "expected"),
        [
            (["1714564800", "1396437466.94"], {"unit": "s"}, [1714564800000, 1396437466940]),
            (["1714564800123"], {"unit": "ms"}, [1714564800123]),
            (["1714564800123.0", "1.714564800123e12"], {"unit": "ms"}, [1714564800123] * 2),
            (["1714564800123999"], {"unit": "us"}, [1714564800123]),
            (["1714564800123999999"], {"unit": "ns"}, [1714564800123]),
            ([1714564800], {"unit": "s"}, [1714564800000]),
            ([1714564800.5, float("nan"), float("inf")], {"unit": "s"}, [1714564800500, None, None]),
            ([1714564800123], {}, [1714564800123]),
            (["2024-05-01 12:00:00", "2024-05-01"], {"format": "%Y-%m-%d %H:%M:%S"}, [MS, None]),
            (["01/05/2024"], {"format": "%d/%m/%Y"}, [MS - 12 * 3_600_000]),
            (["2024-05-01 14:00:00"], {"format": "%Y-%m-%d %H:%M:%S", "timezone": "Europe/Berlin"}, [MS]),
            (["2024-05-01 14:00:00 +0200"], {"format": "%Y-%m-%d %H:%M:%S %z", "timezone": "Asia/Tokyo"}, [MS]),
            ([20240501], {"format": "%Y%m%d"}, [MS - 12 * 3_600_000]),
        ],
    )
    def test_numbers_and_formats(self, values, settings, expected):
        assert times_of(values, settings) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "2024-05-01T12:00:00Z",
            "2024-05-01T12:00:00",
            "2024-05-01 12:00:00",
            "2024-05-01 12:00",
            "2024-05-01T12:00:00.000Z",
            "2024-05-01 12:00:00.000000 UTC",
            "2024-05-01T14:00:00+02:00",
            "2024-05-01T14:00:00+0200",
            "2024-05-01T14:00+02",
            "2024-05-01T07:30:00-04:30",
            "20240501T120000Z",
        ],
    )
    def test_iso_in_its_spellings(self, text):
        assert times_of([text], {"format": "iso"}) == [MS]
        assert times_of([text], {}) == [MS]

    def test_iso_dates_are_midnights_of_the_zone(self):
        assert times_of(["2024-05-01"], {"format": "iso", "timezone": "America/New_York"}) == [MS - 8 * 3_600_000]

    @pytest.mark.parametrize("text", ["2024-13-01", "yesterday", "12:00", "2024-05-01T25:00:00Z", "1714564800"])
    def test_what_is_no_iso_is_not_read(self, text):
        assert times_of([text], {"format": "iso"}) == [None]

    def test_native_times_are_taken_as_they_are(self):
        naive = dt.datetime(2024, 5, 1, 12)
        assert times_of([naive], {}, dtype=pl.Datetime("ns")) == [MS]
        assert times_of([naive], {"timezone": "Europe/Berlin"}) == [MS - 2 * 3_600_000]
        assert times_of([T0], {"timezone": "Europe/Berlin"}, dtype=pl.Datetime("us", "UTC")) == [MS]
        assert times_of([naive.date()], {}) == [MS - 12 * 3_600_000]

    def test_hours_that_occur_twice_or_never(self):
        berlin = {"format": "iso", "timezone": "Europe/Berlin"}
        assert times_of(["2024-10-27 02:30:00"], berlin) == times_of(["2024-10-27T02:30:00+02:00"], {"format": "iso"})
        assert times_of(["2024-03-31 02:30:00"], berlin) == [None]

    def test_texts_without_settings_are_numbers_or_iso_by_the_first_rows(self, read):
        assert read(CSV).events["timestamp"][0] == T0
        assert read("visitor,time,item\n1,2024-05-01T12:00:00Z,5\n").events["timestamp"][0] == T0

    def test_an_unknown_zone_is_named(self):
        with pytest.raises(ValidationError, match="no time zone 'Europe/Berlim'"):
            Timestamps(timezone="Europe/Berlim")

    @given(st.integers(800_000_000_000, 4_000_000_000_000))
    def test_milliseconds_survive_every_spelling(self, moment):
        seconds = f"{moment // 1000}.{moment % 1000:03d}"
        assert times_of([seconds], {"unit": "s"}) == [moment]
        assert times_of([str(moment)], {"unit": "ms"}) == [moment]
        assert times_of([moment * 1_000_000], {"unit": "ns"}) == [moment]
        written = dt.datetime.fromtimestamp(moment // 1000, dt.UTC).replace(microsecond=moment % 1000 * 1000).isoformat()
        assert times_of([written], {"format": "iso"}) == [moment]


class TestQuarantine:
    def test_every_reason_is_given(self, read):
        columns = {"item": "i", "timestamp": "t", "visitor": "v", "event": "e", "value": "p", "quantity": "q"}
        cases = [
            ("the item is missing", f",{MS},1,pv,1,1"),
            ("the item is missing", f"  ,{MS},1,pv,1,1"),
            ("the item is no integer", f"5x,{MS},1,pv,1,1"),
            ("the timestamp is missing", "5,,1,pv,1,1"),
            ("the timestamp cannot be read", "5,noon,1,pv,1,1"),
            ("the timestamp is before 1995-01-01 (a wrong unit?)", f"5,{MS // 1000},1,pv,1,1"),
            ("the timestamp is not before 2100-01-01 (a wrong unit?)", f"5,{MS * 1000},1,pv,1,1"),
            ("the timestamp is not before 2100-01-01 (a wrong unit?)", "5,1e300,1,pv,1,1"),
            ("the visitor is missing", f"5,{MS},,pv,1,1"),
            ("the visitor is no integer", f"5,{MS},x,pv,1,1"),
            ("the event is missing", f"5,{MS},1,,1,1"),
            ("the event is not in event_map", f"5,{MS},1,hover,1,1"),
            ("the value is no number", f'5,{MS},1,pv,"1,5",1'),
            ("the value is no number", f"5,{MS},1,pv,inf,1"),
            ("the quantity is no number", f"5,{MS},1,pv,1,two"),
            ("the row has more fields than the file has columns", f"5,{MS},1,pv,1,1,9"),
            ("the timestamp is missing", "5"),
            (None, f"5,{MS},1,pv,1"),
            (None, f"5,{MS},1,pv,1,1"),
        ]
        content = "i,t,v,e,p,q\n" + "".join(line + "\n" for _, line in cases)
        result = read(
            content,
            columns=columns,
            event_map={"pv": "view"},
            timestamps={"unit": "ms"},
            id_types={"item": "integer", "visitor": "integer"},
        )
        assert result.reasons == {row: reason for row, (reason, _) in enumerate(cases, start=1) if reason}
        assert result.events.height == 2
        assert result.summary["quarantined"]["the item is missing"] == 2
        assert sum(result.summary["quarantined"].values()) == len(cases) - 2
        assert result.quarantine.columns == ["row", "reason", "i", "t", "v", "e", "p", "q"]
        assert set(result.quarantine.dtypes[1:]) == {pl.String}
        assert result.quarantine.row(4, named=True)["t"] == "noon"

    def test_a_sessionized_log_needs_the_session_and_not_the_visitor(self, read):
        content = f"visitor,time,item,s\n1,{MS},5,\n,{MS},6,8\n1,{MS},7,x\n"
        result = read(content, columns=COLUMNS | {"session": "s"}, id_types={"session": "integer"})
        assert result.reasons == {1: "the session is missing", 3: "the session is no integer"}
        assert result.events.row(0)[:3] == (None, 8, 6)

    def test_json_lines_that_are_no_objects(self, read):
        good = f'{{"visitor": 1, "time": {MS}, "item": 5}}\n'
        result = read(good + '{"visitor": 1, "ti\n[1, 2]\nnull\n' + good, "log.jsonl")
        assert result.reasons == dict.fromkeys((2, 3, 4), "the line is no JSON object")
        assert result.quarantine["line"].to_list() == ['{"visitor": 1, "ti', "[1, 2]", "null"]

    def test_columns_that_are_called_as_the_quarantines_own(self, read):
        result = read(f"row,time,reason\n1,{MS},\n", columns={"item": "reason", "timestamp": "time", "visitor": "row"})
        assert result.quarantine.columns == ["row", "reason", "reason_", "time", "row_"]

    def test_every_rule_has_a_reason_and_a_remedy(self):
        rules = {name for name, value in vars(Reading).items() if type(value).__name__ == "RuleFactory"}
        assert set(REASONS) == set(REMEDIES)
        assert rules == set(REASONS)

    def test_event_names_are_mapped_or_taken_as_they_are(self, read):
        columns = COLUMNS | {"event": "e"}
        content = f"visitor,time,item,e\n1,{MS},5,pv\n1,{MS},5,buy\n"
        assert read(content, columns=columns).events["event"].to_list() == ["pv", "buy"]
        mapped = read(content, columns=columns, event_map={"pv": "view", "buy": "purchase"})
        assert mapped.events["event"].to_list() == ["view", "purchase"]
        assert read(CSV, default_event="purchase").events["event"].unique().to_list() == ["purchase"]


class TestWhere:
    CONTENT = f"visitor,time,item,kind,n,ok\n1,{MS},5,a,3,true\n1,{MS},6,b,12,false\n1,{MS},7,a,,true\n1,{MS},,b,2,false\n"

    @pytest.mark.parametrize(
        ("where", "items", "left_out"),
        [
            ("n > 2", [5, 6], 2),
            ("n > 2 AND kind = 'a'", [5], 3),
            ("kind IN ('a')", [5, 7], 2),
            ("n IS NULL", [7], 3),
            ("ok", [5, 7], 2),
            ("item > 5", [6, 7], 2),
            ("CAST(visitor AS VARCHAR) = '1'", [5, 6, 7], 0),
        ],
    )
    def test_rows_that_are_not_true_are_left_out_and_counted(self, read, where, items, left_out):
        result = read(self.CONTENT, where=where)
        assert result.events["item_id"].to_list() == items
        assert result.summary["left_out_by_where"] == left_out
        assert result.summary["rows"] == 4
        assert result.summary["events"] + left_out + result.quarantine.height == 4

    def test_left_out_rows_are_not_refused_and_rows_keep_their_numbers(self, read):
        result = read(self.CONTENT, where="kind = 'b'")
        assert result.reasons == {4: "the item is missing"}
        assert result.quarantine.columns == ["row", "reason", "item", "time", "visitor", "kind"]
        assert result.summary["checks"]["quarantined"]["figure"] == 0.5

    def test_columns_without_a_header_are_called_by_position(self, read):
        body = self.CONTENT.split("\n", 1)[1]
        result = read(body, header=False, columns={"item": 2, "timestamp": 1, "visitor": 0}, where="column_4 > 2")
        assert result.events["item_id"].to_list() == [5, 6]

    def test_it_works_on_json_lines_and_parquet(self, read):
        assert read(JSONL, "log.jsonl", where="item > 10").events["item_id"].to_list() == [11]
        assert read(TABLE, "log.parquet", where="item > 10").events["item_id"].to_list() == [11]

    @pytest.mark.parametrize(
        ("where", "error", "message"),
        [
            ("n >", ConfigurationError, r"source\.where: 'n >' is no SQL expression"),
            ("price > 3", DataError, r"no column 'price'; the file has visitor, time, .*correct source\.where"),
            ("n + 1", ConfigurationError, r"'n \+ 1' gives .*write a comparison"),
            ("kind > 3", ConfigurationError, r"does not fit the columns \(kind String\).*CAST"),
        ],
    )
    def test_what_is_wrong_with_an_expression_is_said(self, read, where, error, message):
        with pytest.raises(error, match=message):
            read(self.CONTENT, where=where)


class TestUnreadableFiles:
    def test_a_missing_column_is_named_with_those_there_are(self, read):
        for content, name in ((CSV, "log.csv"), (JSONL, "log.jsonl"), (TABLE, "log.parquet")):
            with pytest.raises(
                DataError, match=rf"{name}: there is no column 'sku'; the file has visitor, time, item; correct source.columns"
            ):
                read(content, name, columns=COLUMNS | {"item": "sku"})

    def test_a_position_beyond_the_columns(self, read):
        with pytest.raises(DataError, match="no column 'column_7'; the file has column_0, column_1, column_2"):
            read(CSV, header=False, columns={"item": 7, "timestamp": 1, "visitor": 0})

    @pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log.jsonl", "log.csv.gz"])
    def test_an_empty_file(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(DataError, match=f"{name} is empty; remove it or fetch it again"):
            Result(tmp_path / name, layout())

    @pytest.mark.parametrize(
        ("content", "name"),
        [("visitor,time,item\n", "log.csv"), ("\n\n", "log.jsonl"), (TABLE.clear(), "log.parquet"), ("visitor,time,item\n", "log.csv.gz")],
    )
    def test_a_file_without_rows(self, read, content, name):
        with pytest.raises(DataError, match=r"holds no rows|is empty"):
            read(content, name)

    @pytest.mark.parametrize("name", ["log.csv.gz", "log.jsonl.gz"])
    def test_a_truncated_gzip_file(self, tmp_path, name):
        whole = gzip.compress(
            (CSV.split("\n")[0] + "\n").encode() + os.urandom(5).hex().encode() + (CSV if "csv" in name else JSONL).encode() * 9000
        )
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=f"{name} cannot be read as .*(cut off or damaged).*fetch it again"):
            Result(tmp_path / name, layout())
        assert not list(tmp_path.glob("out/*"))

    def test_what_is_no_parquet_file(self, tmp_path):
        (tmp_path / "log.parquet").write_bytes(b"PAR1 and then nothing of the kind")
        with pytest.raises(DataError, match=r"log\.parquet cannot be read as Parquet: it is cut off or damaged"):
            Result(tmp_path / "log.parquet", layout())

    def test_a_truncated_parquet_file(self, tmp_path):
        TABLE.write_parquet(tmp_path / "log.parquet")
        content = (tmp_path / "log.parquet").read_bytes()
        (tmp_path / "log.parquet").write_bytes(content[:-20])
        with pytest.raises(DataError, match="cut off or damaged"):
            Result(tmp_path / "log.parquet", layout())

    def test_bytes_that_are_no_utf8(self, read):
        for content, name in ((CSV.encode() + b"1,2,\xff\xfe\n", "log.csv"), (JSONL.encode() + b'{"item": "\xff"}\n', "log.jsonl")):
            with pytest.raises(DataError, match=f"{name} cannot be read as .*: line [45] holds .* no UTF-8; save the file as UTF-8"):
                read(content, name)

    def test_a_quotation_mark_that_is_never_closed(self, read):
        with pytest.raises(DataError, match="quotation mark is opened and never closed"):
            read(CSV + f'1,{MS},"open\n1,{MS},2\n')

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(DataError, match=r"nothing\.csv: there is no such file; check source\.paths"):
            Result(tmp_path / "nothing.csv", layout())

    def test_a_name_that_tells_no_format(self, read):
        with pytest.raises(ConfigurationError, match=r"log\.txt: the name does not tell the file's format; set source\.format"):
            read(CSV, "log.txt")

    def test_json_in_place_of_lines(self, read):
        with pytest.raises(DataError, match="none of the first 2 lines is a JSON object"):
            read("[\n]\n", "log.jsonl")

    @pytest.mark.parametrize(
        ("column", "values", "message"),
        [
            ("item", [[1], [2]], "is of type List.*which is no id; map source.columns.item"),
            ("time", [True, False], "is of type Boolean, which is no time"),
            ("price", [[1], [2]], "is of type List.*which is no number; map source.columns.value"),
        ],
    )
    def test_a_column_of_a_type_that_cannot_be_used(self, read, column, values, message):
        table = pl.DataFrame({"visitor": [1, 2], "time": [MS, MS], "item": [1, 2], "price": [1.0, 2.0]} | {column: values})
        with pytest.raises(DataError, match=rf"log\.parquet: column '{column}' {message}"):
            read(table, "log.parquet", columns=COLUMNS | {"value": "price"})


class TestCheck:
    CONTENT = "visitor,time,item\n" + f"1,{MS},5\n" * 7 + f"1,{MS},\n1,{MS},\n1,,5\n"

    def test_too_many_refused_rows_stop_with_the_commonest_reason(self, read, tmp_path):
        with pytest.raises(DataError) as caught:
            read(self.CONTENT, checks=Checks(quarantined={"threshold": 0.2}))
        text = str(caught.value)
        assert "log.csv: 3 of 10 rows (30.0%) were refused" in text
        assert "checks.quarantined.threshold allows (20.0%)" in text
        assert "the item is missing (2 times, first in row 8): check source.columns.item, and that no row breaks off early" in text
        assert list((tmp_path / "out").iterdir()) == []

    def test_as_many_as_allowed_are_fine(self, read, capsys):
        assert read(self.CONTENT, checks=Checks(quarantined={"threshold": 0.3})).summary["checks"]["quarantined"]["passed"] is True
        assert capsys.readouterr().err == ""

    def test_a_warning_lets_the_part_through(self, read, capsys):
        result = read(self.CONTENT, checks=Checks(quarantined={"threshold": 0.2, "policy": "warn"}))
        assert result.events.height == 7
        assert result.summary["checks"]["quarantined"] == {"figure": 0.3, "threshold": 0.2, "policy": "warn", "passed": False}
        assert "warning: " in capsys.readouterr().err

    def test_a_wrong_unit_is_suspected(self, read):
        with pytest.raises(
            DataError, match=r"before 1995-01-01 \(a wrong unit\?\).*set source\.timestamps\.unit to 's', which makes it 20"
        ):
            read(f"visitor,time,item\n1,{MS // 1000},5\n", checks=Checks(), timestamps={"unit": "ms"})

    def test_the_summary_is_complete_and_names_no_folder(self, read, tmp_path):
        result = read(CSV, "day-1.csv")
        assert json.loads(result.files[2].read_text()) == {
            "part": "day-1",
            "file": "day-1.csv",
            "rows": 3,
            "events": 3,
            "left_out_by_where": 0,
            "quarantined": {},
            "first_refused_rows": {},
            "first_refused_fields": {},
            "unknown_events": {},
            "latest_believed": None,
            "duplicates": 0,
            "event_counts": {"view": 3},
            "first": "2024-05-01T12:00:00.000Z",
            "last": "2024-05-01T12:00:02.000Z",
            "checks": {
                "quarantined": {"figure": 0.0, "threshold": 1.0, "policy": "stop", "passed": True},
                "unknown_events": {"figure": 0.0, "threshold": 0.01, "policy": "warn", "passed": True},
                "future_times": {"figure": 0.0, "threshold": 0.001, "policy": "warn", "passed": True},
            },
        }

    def test_a_part_of_which_nothing_is_left_still_has_its_columns(self, read):
        result = read(CSV, where="item > 99")
        assert result.events.schema == EXPECTED.schema
        assert (result.events.height, result.summary["first"], result.summary["event_counts"]) == (0, None, {})

    def test_the_same_file_gives_the_same_bytes(self, read):
        once = [file.read_bytes() for file in read(self.CONTENT).files]
        assert once == [file.read_bytes() for file in read(self.CONTENT).files]


def test_the_demo_shop_goes_through_the_same_reader(tmp_path):
    settings = DemoSource(events=4_000, items=200, visitors=500, days=4, parts=2)
    results = {}
    for suffix in ("csv", "parquet"):
        paths = [tmp_path / suffix / f"demo-{part}.{suffix}" for part in range(2)]
        write_demo(settings, paths)
        results[suffix] = [Result(path, LAYOUT, Checks()) for path in paths]
    for csv, parquet in zip(results["csv"], results["parquet"], strict=True):
        assert csv.events.equals(parquet.events)
        assert csv.events.schema["value"] == pl.Float64
        assert parquet.quarantine.height == 0
        assert csv.summary["quarantined"] == {
            "the row has more fields than the file has columns": 1,
            "the item is missing": 1,
            "the timestamp cannot be read": 1,
            "the event is not in event_map": 1,
        }
    total = sum(result.events.height for result in results["csv"])
    assert total == pytest.approx(4_000, rel=0.1)


def real(name: str) -> Path:
    folder = Path(os.environ.get("RECSYS_DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / name
    if not path.is_file():
        pytest.skip(f"{name} is not here; set RECSYS_DATA_DIR to the folder that holds it")
    return path


class TestRealLogs:
    """Four public logs in their own layouts."""

    def run(self, name: str, tmp_path: Path, **changes) -> Result:
        link = tmp_path / Path(name).name
        link.symlink_to(real(name))
        return Result(link, layout(**changes), Checks(quarantined={"threshold": 0.0}))

    def test_retailrocket(self, tmp_path):
        result = self.run(
            "retailrocket_sequences/events.csv.gz",
            tmp_path,
            columns={"item": "itemid", "timestamp": "timestamp", "visitor": "visitorid", "event": "event"},
            timestamps={"unit": "ms"},
            event_map={"view": "view", "addtocart": "cart", "transaction": "purchase"},
        )
        assert result.summary["events"] == 710_586
        assert result.events["visitor_id"].n_unique() == 130_903
        assert result.events.schema["item_id"] == pl.Int64

    def test_rsc15(self, tmp_path):
        result = self.run(
            "rsc15_100k/train_full.tsv.gz",
            tmp_path,
            columns={"item": "ItemId", "timestamp": "Time", "session": "SessionId"},
            timestamps={"unit": "s"},
        )
        assert (result.summary["events"], result.events["session"].n_unique(), result.events["item_id"].n_unique()) == (
            70_278,
            17_794,
            2_933,
        )
        assert result.events["timestamp"].dt.epoch("ms")[0] == 1_396_437_466_940

    def test_online_retail(self, tmp_path):
        result = self.run(
            "online_retail/online_retail.parquet",
            tmp_path,
            columns={
                "item": "StockCode",
                "timestamp": "InvoiceDate",
                "visitor": "CustomerID",
                "value": "UnitPrice",
                "quantity": "Quantity",
            },
            timestamps={"timezone": "Europe/London"},
            default_event="purchase",
            where="CustomerID IS NOT NULL",
        )
        assert result.summary["left_out_by_where"] == 135_080
        assert result.events.schema["item_id"] == pl.String
        assert result.events["visitor_id"].n_unique() == 4_372

    def test_taobao(self, tmp_path):
        result = self.run(
            "taobao_slice/UserBehavior.csv.gz",
            tmp_path,
            header=False,
            columns={"item": 1, "timestamp": 4, "visitor": 0, "event": 3},
            timestamps={"unit": "s"},
            event_map={"pv": "view", "cart": "cart", "buy": "purchase", "fav": "favourite"},
        )
        assert result.summary["events"] == 96_168
        assert result.summary["event_counts"].keys() == {"view", "cart", "purchase", "favourite"}
