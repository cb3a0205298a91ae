"""Public logs: every source's files, layouts and places, read from made-up samples in the exact layout of what is published."""

import gzip
import hashlib
import json
from pathlib import Path

import polars as pl
import pytest
import yaml

from recsys.config import load_configuration
from recsys.errors import ConfigurationError, DataError
from recsys.events.ingest import ingest
from recsys.events.sources.registry import SOURCES
from recsys.events.sources.verify import verify
from recsys.settings.checks import Checks
from recsys.settings.raw_files import Archive, Expected, Generated, Kaggle, SourceFile, Web

ROOT = Path(__file__).resolve().parents[2]
RUNS = {"runs": {"pop": {"model": "popularity"}}}

SAMPLES: dict[str, tuple[dict, dict[str, str | bytes]]] = {
    "retailrocket": (
        {"type": "retailrocket", "verify": False},
        {
            "events.csv": "timestamp,visitorid,event,itemid,transactionid\n"
            "1433221332117,257597,view,355908,\n"
            "1433224214164,992329,addtocart,248676,\n"
            "1433222276276,599528,transaction,356475,4000\n",
            "item_properties_part1.csv": "timestamp,itemid,property,value\n"
            "1435460400000,460429,categoryid,1338\n"
            "1441508400000,206783,888,1116713 960601 n277.200\n"
            "1439089200000,395014,available,0\n",
            "item_properties_part2.csv": "timestamp,itemid,property,value\n1433041200000,183478,561,769062\n",
            "category_tree.csv": "categoryid,parentid\n1016,213\n1693,\n",
        },
    ),
    "yoochoose": (
        {"type": "yoochoose"},
        {
            "yoochoose-clicks.dat": "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,S\n",
            "yoochoose-buys.dat": "420374,2014-04-06T18:44:58.314Z,214537888,12462,1\n420374,2014-04-06T18:44:58.325Z,214537850,10471,2\n",
        },
    ),
    "amazon_reviews": (
        {"type": "amazon_reviews", "categories": ["All_Beauty", "Gift_Cards"], "item_data": True},
        {
            "All_Beauty.jsonl.gz": gzip.compress(
                b'{"rating": 5.0, "title": "Such a lovely scent", "text": "Not \\"dry\\".", "images": [], "asin": "B00YQ6X8EO", '
                b'"parent_asin": "B00YQ6X8EP", "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ", "timestamp": 1588687728923, '
                b'"helpful_vote": 0, "verified_purchase": true}\n'
                b'{"rating": 4.0, "title": "Works", "text": "", "images": [{"small_image_url": "https://images.test/a.jpg"}], '
                b'"asin": "B081TJ8YS3", "parent_asin": "B081TJ8YS3", "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ", '
                b'"timestamp": 1588615855070, "helpful_vote": 1, "verified_purchase": true}\n',
                mtime=0,
            ),
            "Gift_Cards.jsonl.gz": gzip.compress(
                b'{"rating": 1.0, "title": "No", "text": "x", "images": [], "asin": "0123456789", "parent_asin": "0123456789", '
                b'"user_id": "AEF", "timestamp": 1497637222000, "helpful_vote": 0, "verified_purchase": false}\n',
                mtime=0,
            ),
            "meta_All_Beauty.jsonl.gz": gzip.compress(
                b'{"main_category": "All Beauty", "title": "Howard LC0008", "parent_asin": "B00YQ6X8EP", "price": null}\n', mtime=0
            ),
            "meta_Gift_Cards.jsonl.gz": gzip.compress(
                b'{"main_category": "Gift Cards", "title": "Card", "parent_asin": "0123456789"}\n', mtime=0
            ),
        },
    ),
    "amazon_reviews of 2018": (
        {"type": "amazon_reviews", "categories": ["AMAZON_FASHION"], "edition": "2018"},
        {
            "AMAZON_FASHION.json.gz": gzip.compress(
                b'{"overall": 5.0, "verified": true, "reviewTime": "10 20, 2014", "reviewerID": "A1D4G1SNUZWQOT", "asin": "7106116521", '
                b'"reviewerName": "Tracy", "reviewText": "Exactly what I needed.", "summary": "perfect", "unixReviewTime": 1413763200}\n',
                mtime=0,
            )
        },
    ),
    "ml-latest-small": (
        {"type": "movielens"},
        {
            "ratings.csv": "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,3,4.5,964981247\n",
            "movies.csv": 'movieId,title,genres\n1,Toy Story (1995),Adventure|Animation\n3,"American President, The (1995)",Comedy\n',
        },
    ),
    "ml-1m": (
        {"type": "movielens", "edition": "ml-1m"},
        {"ratings.dat": "1::1193::5::978300760\n1::661::3::978302109\n"},
    ),
    "ml-100k": (
        {"type": "movielens", "edition": "ml-100k"},
        {
            "u.data": "196\t242\t3\t881250949\n186\t302\t3\t891717742\n",
            "u.item": b"242|Mis\xe9rables, Les (1995)|01-Jan-1995||http://films.test/a|0|0|0\n302|L.A. Confidential|01-Jan-1997|||0|0|0\n",
        },
    ),
    "recbole": (
        {"type": "movielens", "edition": "recbole", "verify": False},
        {
            "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            "196\t242\t3\t881250949\n186\t302\t3\t891717742\n",
            "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n242\tKolya\t1996\tComedy\n",
        },
    ),
}
SAMPLES |= {edition: ({"type": "movielens", "edition": edition}, SAMPLES["ml-latest-small"][1]) for edition in ("ml-25m",)}
SAMPLES["ml-32m"] = ({"type": "movielens", "edition": "ml-32m", "verify": False}, SAMPLES["ml-latest-small"][1])


def filled(folder: Path, files: dict[str, str | bytes]) -> Path:
    """A folder with a sample's files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def configured(source: dict):
    return load_configuration(RUNS | {"source": source})


def sample(name: str, folder: Path) -> dict[str, SourceFile]:
    """A sample's parts, its files lying in `folder`."""
    source, files = SAMPLES[name]
    return configured(source | {"folder": str(filled(folder, files))}).parts


def read(part: SourceFile, out: Path) -> tuple[pl.DataFrame, pl.DataFrame, dict]:
    """Events, quarantine and quality of a part."""
    files = [out / f"{part.name}{ending}" for ending in (".parquet", ".quarantine.parquet", ".quality.json")]
    summary = ingest(Path(part.path), part.layout, Checks(), *files)
    return pl.read_parquet(files[0]), pl.read_parquet(files[1]), summary


def rows(events: pl.DataFrame) -> list[tuple]:
    return events.with_columns(pl.col("timestamp").dt.epoch("ms")).rows()


EXPECTED = {
    ("retailrocket", "events"): [
        (257597, None, 355908, "view", 1433221332117),
        (992329, None, 248676, "cart", 1433224214164),
        (599528, None, 356475, "purchase", 1433222276276),
    ],
    ("yoochoose", "clicks"): [(None, 1, 214536502, "view", 1396867869277), (None, 1, 214536500, "view", 1396868049868)],
    ("yoochoose", "buys"): [
        (None, 420374, 214537888, "purchase", 1396809898314, 12462.0, 1.0),
        (None, 420374, 214537850, "purchase", 1396809898325, 10471.0, 2.0),
    ],
    ("amazon_reviews", "All_Beauty"): [
        ("AGKHLEW2SOWHNMFQIJGBECAF7INQ", None, "B00YQ6X8EP", "purchase", 1588687728923, 5.0),
        ("AGKHLEW2SOWHNMFQIJGBECAF7INQ", None, "B081TJ8YS3", "purchase", 1588615855070, 4.0),
    ],
    ("amazon_reviews", "Gift_Cards"): [("AEF", None, "0123456789", "purchase", 1497637222000, 1.0)],
    ("amazon_reviews of 2018", "AMAZON_FASHION"): [("A1D4G1SNUZWQOT", None, "7106116521", "purchase", 1413763200000, 5.0)],
    ("ml-latest-small", "ratings"): [(1, None, 1, "view", 964982703000, 4.0), (1, None, 3, "view", 964981247000, 4.5)],
    ("ml-1m", "ratings"): [(1, None, 1193, "view", 978300760000, 5.0), (1, None, 661, "view", 978302109000, 3.0)],
    ("ml-100k", "ratings"): [(196, None, 242, "view", 881250949000, 3.0), (186, None, 302, "view", 891717742000, 3.0)],
}
EXPECTED[("recbole", "ratings")] = EXPECTED[("ml-100k", "ratings")]
EXPECTED |= {(edition, "ratings"): EXPECTED[("ml-latest-small", "ratings")] for edition in ("ml-25m", "ml-32m")}


class TestLayouts:
    @pytest.mark.parametrize(("name", "part"), EXPECTED)
    def test_a_published_file_is_read_into_the_contract(self, name, part, tmp_path):
        events, quarantine, summary = read(sample(name, tmp_path / "raw")[part], tmp_path / "out")
        assert rows(events) == EXPECTED[name, part]
        assert (quarantine.height, summary["file"]) == (0, Path(summary["file"]).name)

    def test_every_source_and_edition_has_a_sample(self):
        covered = {(source["type"], source.get("edition", "")) for source, _ in SAMPLES.values()}
        assert {kind for kind, _ in covered} == set(SOURCES) - {"demo", "files"}
        editions = SOURCES["movielens"].model_json_schema()["properties"]["edition"]["enum"]
        assert {edition or "ml-latest-small" for kind, edition in covered if kind == "movielens"} == set(editions)

    @pytest.mark.parametrize("name", SAMPLES)
    def test_every_part_of_a_sample_is_expected(self, name, tmp_path):
        assert {(name, part) for part in sample(name, tmp_path)} == {key for key in EXPECTED if key[0] == name}

    @pytest.mark.parametrize("name", ["retailrocket", "amazon_reviews"])
    def test_reading_twice_gives_the_same_bytes_and_leaves_the_raw_file_alone(self, name, tmp_path):
        part = next(iter(sample(name, tmp_path / "raw").values()))
        path = Path(part.path)
        before = (path.read_bytes(), path.stat().st_mtime_ns)
        written = []
        for turn in ("once", "twice"):
            read(part, tmp_path / turn)
            written.append({file.name: file.read_bytes() for file in (tmp_path / turn).iterdir()})
        assert written[0] == written[1]
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before

    def test_an_event_name_that_is_not_published_is_set_aside(self, tmp_path):
        part = sample("retailrocket", tmp_path)["events"]
        with Path(part.path).open("a") as file:
            file.write("1433221332118,1,wishlist,2,\n")
        files = [tmp_path / name for name in ("e.parquet", "q.parquet", "q.json")]
        checks = Checks.model_validate({"quarantined": {"threshold": 1.0}, "unknown_events": {"threshold": 1.0}})
        ingest(Path(part.path), part.layout, checks, *files)
        assert pl.read_parquet(files[1])["reason"].to_list() == ["the event is not in event_map"]

    def test_the_layout_survives_the_way_to_the_stage(self, tmp_path):
        from recsys.settings.source import FilesSource

        for name in SAMPLES:
            for part in sample(name, tmp_path / name).values():
                told = json.loads(json.dumps(part.described))
                assert FilesSource.model_validate(told["layout"] | {"paths": part.path}).columns == part.layout.columns
                assert "paths" not in told["layout"]


class TestFiles:
    def test_a_folder_is_read_where_it_is_and_nothing_is_fetched(self, tmp_path):
        source, files = SAMPLES["retailrocket"]
        configuration = configured(source | {"folder": str(filled(tmp_path, files))})
        assert [(file.name, file.role) for file in configuration.raw_files] == [
            ("events", "events"),
            ("item_properties_part1.csv", "properties"),
            ("item_properties_part2.csv", "properties"),
            ("category_tree.csv", "categories"),
        ]
        assert all(file.origin is None and Path(file.path).parent == tmp_path for file in configuration.raw_files)

    def test_a_folder_may_name_the_home_and_environment_variables(self, tmp_path, monkeypatch):
        source, files = SAMPLES["ml-1m"]
        filled(tmp_path / "data", files)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("DATA_HERE", str(tmp_path))
        for folder in ("~/data", "${DATA_HERE}/data"):
            assert configured(source | {"folder": folder}).parts["ratings"].path == str(tmp_path / "data" / "ratings.dat")
        monkeypatch.delenv("DATA_HERE")
        with pytest.raises(ConfigurationError, match=r"source\.folder: '\$\{DATA_HERE\}/data' names an environment variable"):
            _ = configured(source | {"folder": "${DATA_HERE}/data"}).parts

    def test_a_file_that_a_folder_lacks_is_named_with_its_page(self, tmp_path):
        filled(tmp_path, {"events.csv": "x"})
        with pytest.raises(ConfigurationError) as caught:
            _ = configured({"type": "retailrocket", "folder": str(tmp_path)}).parts
        told = str(caught.value)
        for part in ("source.folder", "category_tree.csv", "https://www.kaggle.com/datasets/retailrocket", "item_data: false"):
            assert part in told
        assert "events.csv" not in told
        assert list(configured({"type": "retailrocket", "folder": str(tmp_path), "item_data": False}).parts) == ["events"]

    def test_without_a_folder_every_file_has_a_place_and_an_origin(self):
        for name, (source, _) in SAMPLES.items():
            if source.get("edition") == "recbole":
                continue
            files = configured(source).raw_files
            assert files, name
            for file in files:
                assert file.path.startswith("results/raw/")
                assert isinstance(file.origin, Web | Archive | Kaggle)
                assert file.page.startswith("https://")
                assert file.licence

    def test_editions_do_not_share_a_place(self):
        places = [
            file.path for source, _ in SAMPLES.values() if source.get("edition") != "recbole" for file in configured(source).raw_files
        ]
        assert len(places) == len(set(places))

    def test_published_files_come_from_their_publishers(self):
        beauty = configured({"type": "amazon_reviews", "categories": ["All_Beauty"], "item_data": True})
        server = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw"
        assert [file.origin for file in beauty.raw_files] == [
            Web(f"{server}/review_categories/All_Beauty.jsonl.gz"),
            Web(f"{server}/meta_categories/meta_All_Beauty.jsonl.gz"),
        ]
        ratings = configured({"type": "movielens", "edition": "ml-1m"}).parts["ratings"]
        archive = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
        assert ratings.origin == Archive(archive, "ml-1m/ratings.dat", "c4d9eecfca2ab87c1945afe126590906")
        assert configured({"type": "yoochoose"}).parts["buys"].origin == Kaggle("chadgostopp/recsys-challenge-2015", "yoochoose-buys.dat")

    def test_a_mirror_holds_the_files_under_their_own_names(self):
        mirror = {"url": "http://mirror.test/data/"}
        assert configured({"type": "retailrocket"} | mirror).parts["events"].origin == Web("http://mirror.test/data/events.csv")
        reviews = configured({"type": "amazon_reviews", "categories": ["All_Beauty"]} | mirror).parts["All_Beauty"]
        assert reviews.origin == Web("http://mirror.test/data/All_Beauty.jsonl.gz")
        ratings = configured({"type": "movielens", "verify": False} | mirror).parts["ratings"]
        assert ratings.origin == Archive("http://mirror.test/data/ml-latest-small.zip", "ml-latest-small/ratings.csv")

    def test_recboles_copy_is_found_without_importing_the_package(self, tmp_path, monkeypatch):
        package = tmp_path / "site" / "recbole"
        filled(package / "dataset_example" / "ml-100k", SAMPLES["recbole"][1])
        (package / "__init__.py").write_text("raise RuntimeError('it must not be imported')\n")
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        part = configured(SAMPLES["recbole"][0]).parts["ratings"]
        assert part.path == str(package / "dataset_example" / "ml-100k" / "ml-100k.inter")
        assert part.origin is None

    def test_a_missing_recbole_is_told_with_what_to_do(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ConfigurationError, match=r"source\.edition: recbole .* not installed; .* or set edition: ml-100k"):
            _ = configured(SAMPLES["recbole"][0]).parts

    def test_the_demo_shop_is_generated_and_a_users_files_are_where_they_are(self, tmp_path):
        assert all(isinstance(file.origin, Generated) for file in configured({"type": "demo"}).parts.values())
        (tmp_path / "log.csv").write_text("x")
        columns = {"visitor": "v", "item": "i", "timestamp": "t"}
        (part,) = configured({"type": "files", "paths": f"{tmp_path}/*.csv", "columns": columns}).parts.values()
        assert (part.origin, part.expected, part.page) == (None, None, "")

    def test_a_shops_own_item_files_are_among_its_files(self, tmp_path):
        for name in ("log.csv", "items.csv", "tree.csv"):
            (tmp_path / name).write_text("x")
        source = {
            "type": "files",
            "paths": f"{tmp_path}/log.csv",
            "columns": {"visitor": "v", "item": "i", "timestamp": "t"},
            "catalogue": {
                "items": {"paths": f"{tmp_path}/items.csv", "columns": {"item": "i", "name": "n"}},
                "categories": {"path": f"{tmp_path}/tree.csv", "columns": {"category": "c", "parent": "p"}},
            },
        }
        files = configured(source).raw_files
        assert [(file.name, file.role) for file in files] == [("log", "events"), ("items.csv", "items"), ("tree.csv", "categories")]
        assert not {"path", "paths", "catalogue"} & {key for file in files for key in file.described["layout"]}


class TestVerification:
    def test_the_retailrocket_contract_is_kept(self):
        expected = {file.name: file.expected for file in configured({"type": "retailrocket"}).raw_files}
        assert expected["events"].size == 94_237_913
        assert expected["events"].sha256.startswith("3745aa83")
        assert len(expected["events"].sha256) == 64
        assert [expected[name].size for name in ("item_properties_part1.csv", "item_properties_part2.csv", "category_tree.csv")] == [
            484_315_749,
            408_929_907,
            14_454,
        ]

    def test_verify_false_expects_nothing(self):
        assert all(file.expected is None for file in configured({"type": "retailrocket", "verify": False}).raw_files)
        assert configured({"type": "movielens", "edition": "ml-1m", "verify": False}).parts["ratings"].origin.md5 is None

    @pytest.mark.parametrize(
        ("expected", "told"),
        [
            (Expected(size=4), r"it has 5 bytes instead of 4"),
            (Expected(size=5, sha256="0" * 64), r"its sha256 is [0-9a-f]{64} instead of 0000"),
            (Expected(md5="1" * 32), r"its md5 is [0-9a-f]{32} instead of 1111"),
        ],
    )
    def test_a_file_that_is_not_the_published_one_is_refused(self, expected, told, tmp_path):
        path = tmp_path / "file.csv"
        path.write_bytes(b"other")
        with pytest.raises(DataError, match=rf"file\.csv is not the published file: {told}.*https://page\.test.*source\.verify: false"):
            verify(path, expected, "https://page.test")
        assert path.read_bytes() == b"other"

    def test_a_file_that_is_the_published_one_passes(self, tmp_path):
        path = tmp_path / "file.csv"
        path.write_bytes(b"right")
        verify(path, Expected(size=5, sha256=hashlib.sha256(b"right").hexdigest().upper(), md5=hashlib.md5(b"right").hexdigest()))
        verify(path, None)


class TestConfiguration:
    @pytest.mark.parametrize(
        ("source", "told"),
        [
            ({"type": "retailrokcet"}, ["'retailrokcet'", "'retailrocket'", "'movielens'", "'yoochoose'", "'amazon_reviews'", "'demo'"]),
            ({"type": "movielens", "edition": "ml-20m"}, ["source.edition", "'ml-20m'", "ml-25m", "recbole"]),
            ({"type": "retailrocket", "foldr": "x"}, ["source.foldr", "'folder'"]),
            ({"type": "amazon_reviews"}, ["source.categories", "missing"]),
            ({"type": "amazon_reviews", "categories": []}, ["source.categories"]),
            ({"type": "amazon_reviews", "categories": ["Books", "Books"]}, ["source.categories", "twice"]),
            ({"type": "amazon_reviews", "categories": ["../etc"]}, ["source.categories", "'../etc'"]),
        ],
    )
    def test_a_mistake_is_told_with_what_is_known(self, source, told):
        with pytest.raises(ConfigurationError) as caught:
            configured(source)
        for text in told:
            assert text in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_where_files_are_does_not_change_what_the_log_is(self, tmp_path):
        source, files = SAMPLES["ml-1m"]
        there = configured(source | {"folder": str(filled(tmp_path, files)), "verify": False, "url": "http://m.test"})
        assert there.source.of_the_events() == configured(source).source.of_the_events() == {"type": "movielens", "edition": "ml-1m"}

    @pytest.mark.parametrize("name", ["retailrocket", "yoochoose", "amazon_reviews", "movielens"])
    def test_each_public_log_has_an_example(self, name):
        example = yaml.safe_load((ROOT / "examples" / f"{name}.yaml").read_text())
        assert example["source"]["type"] == name
        assert load_configuration(example).parts
