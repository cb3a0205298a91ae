"""Fetching published files: resumed where that is safe, begun anew where not, whole or not at all, and never taken for another."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from recsys.errors import ConfigurationError, DownloadError, StorageError
from recsys.events.sources import fetch as fetching
from recsys.events.sources.archive import archive_path, extract, fetch_member
from recsys.events.sources.download import download, source_of
from recsys.events.sources.fetch import Waiting, fetch
from recsys.settings.raw_files import Archive, Expected
from tests.mirror import serving

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
AT_ONCE = Waiting(attempts=3, pause=0.0, patience=5.0)


@pytest.fixture
def mirror():
    with serving({"log.csv": CONTENT}) as server:
        yield server


@pytest.fixture
def get(mirror, tmp_path):
    def run(expected: Expected | None = None, name: str = "log.csv") -> Path:
        path = tmp_path / "raw" / name
        fetch(f"{mirror.url}/{name}", path, tmp_path / "work", expected, AT_ONCE)
        return path

    return run


def left(work: Path) -> list[str]:
    """What a finished or failed download leaves behind, but for its lock."""
    return sorted(path.name for path in work.iterdir() if path.suffix != ".lock") if work.is_dir() else []


class TestFetch:
    def test_a_file_arrives_whole_and_leaves_nothing_behind(self, get, mirror, tmp_path):
        path = get(Expected(size=len(CONTENT), sha256=SHA256))
        assert path.read_bytes() == CONTENT
        assert left(tmp_path / "work") == []
        assert [file.name for file in path.parent.iterdir()] == ["log.csv"]
        assert mirror.seen == [("log.csv", None, len(CONTENT))]

    @pytest.mark.parametrize("validator", ["etag", "date"])
    def test_a_cut_connection_is_gone_on_with(self, validator, get, mirror):
        mirror.validator, mirror.cuts = validator, [30_000, 20_000]
        assert get(Expected(sha256=SHA256)).read_bytes() == CONTENT
        assert mirror.seen == [("log.csv", None, 30_000), ("log.csv", "bytes=30000-", 20_000), ("log.csv", "bytes=50000-", 52_400)]

    @pytest.mark.parametrize(("validator", "ranges"), [("etag", False), ("none", True), ("weak", True)])
    def test_without_proof_or_ranges_it_begins_anew(self, validator, ranges, get, mirror):
        mirror.validator, mirror.ranges, mirror.cuts = validator, ranges, [30_000]
        assert get().read_bytes() == CONTENT
        assert mirror.seen[-1][2] == len(CONTENT)
        assert len(mirror.seen) == 2

    def test_a_later_call_goes_on_where_an_interrupted_one_ended(self, get, mirror, tmp_path):
        mirror.cuts = [40_000, 0, 0, 0]
        with pytest.raises(DownloadError, match=r"the connection ended after 40,000 of 102,400 bytes; .*40,000 bytes are kept"):
            get()
        assert not (tmp_path / "raw" / "log.csv").exists()
        mirror.cuts, mirror.seen = [], []
        assert get().read_bytes() == CONTENT
        assert mirror.seen == [("log.csv", "bytes=40000-", 62_400)]

    def test_a_file_that_changed_meanwhile_is_not_mixed_with_the_old_one(self, get, mirror):
        mirror.cuts = [40_000, 0, 0, 0]
        with pytest.raises(DownloadError):
            get()
        mirror.cuts, mirror.edition, mirror.files["log.csv"] = [], 2, CONTENT[::-1]
        assert get().read_bytes() == CONTENT[::-1]

    def test_a_download_that_was_complete_is_not_fetched_again(self, get, mirror, tmp_path, monkeypatch):
        def killed(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(fetching, "_move", killed)
        with pytest.raises(KeyboardInterrupt):
            get()
        monkeypatch.undo()
        mirror.seen.clear()
        assert get(Expected(sha256=SHA256)).read_bytes() == CONTENT
        assert mirror.seen == [("log.csv", f"bytes={len(CONTENT)}-", 0)]

    def test_passing_errors_are_waited_out(self, get, mirror):
        mirror.statuses = [503, 429]
        assert get().read_bytes() == CONTENT

    def test_lasting_errors_are_told_after_some_tries(self, get, mirror):
        mirror.statuses = [503] * 3
        with pytest.raises(DownloadError, match=r"the server answers 503 .*check the network and run again"):
            get()
        assert len(mirror.seen) == 3

    def test_a_file_that_is_not_there_is_told_at_once(self, get, mirror):
        with pytest.raises(DownloadError, match=r"/gone\.csv cannot be fetched: the server answers 404 .*source\.url.*source\.folder"):
            get(name="gone.csv")
        assert len(mirror.seen) == 1

    def test_a_server_that_is_not_there_is_told(self, tmp_path, mirror):
        mirror.shutdown()
        mirror.server_close()
        with pytest.raises(DownloadError, match=r"the server refuses the connection; check the network and run again, or fetch the file"):
            fetch(f"{mirror.url}/log.csv", tmp_path / "log.csv", tmp_path / "work", None, AT_ONCE)

    def test_a_name_that_does_not_resolve_is_told(self, tmp_path, monkeypatch):
        def unresolved(*_, **__):
            raise fetching.urllib.error.URLError(fetching.socket.gaierror(-2, "Name or service not known"))

        monkeypatch.setattr(fetching.urllib.request, "urlopen", unresolved)
        with pytest.raises(DownloadError, match=r"http://nowhere\.test/a cannot be fetched: the server's name cannot be resolved"):
            fetch("http://nowhere.test/a", tmp_path / "a", tmp_path / "work", None, AT_ONCE)

    @pytest.mark.parametrize(
        ("expected", "told"), [(Expected(size=1), "102,400 bytes instead of 1"), (Expected(sha256="0" * 64), f"its sha256 is {SHA256}")]
    )
    def test_a_file_that_is_not_the_published_one_is_removed(self, expected, told, get, tmp_path):
        with pytest.raises(DownloadError, match=rf"is not the published file: .*{told}.*it was removed: run again"):
            get(expected)
        assert left(tmp_path / "work") == []
        assert not (tmp_path / "raw").exists()

    def test_a_disk_that_is_too_small_is_told_before_a_byte_is_written(self, get, monkeypatch):
        monkeypatch.setattr(fetching.shutil, "disk_usage", lambda folder: fetching.shutil._ntuple_diskusage(10, 5, 1_000))
        with pytest.raises(DownloadError, match=r"log\.csv needs 100\.0 KiB, but the disk of .* has 1000 B free; make room"):
            get()

    def test_a_disk_that_fills_up_is_told_and_what_is_there_is_kept(self, get, mirror, tmp_path, monkeypatch):
        def full(answer, file, start, whole, url):
            file.write(answer.read(1_000))
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(fetching, "_copy", full)
        with pytest.raises(StorageError, match=r"cannot be written: the disk .* is full"):
            get()
        monkeypatch.undo()
        mirror.seen.clear()
        assert get().read_bytes() == CONTENT
        assert mirror.seen == [("log.csv", "bytes=1000-", len(CONTENT) - 1_000)]


@pytest.fixture
def archive(mirror, tmp_path):
    """A zip archive with two members, on the mirror."""
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("ml-x/ratings.csv", CONTENT)
        made.writestr("ml-x/movies.csv", b"movieId,title,genres\n")
    mirror.files["ml-x.zip"] = path.read_bytes()
    return Archive(f"{mirror.url}/ml-x.zip", "ml-x/ratings.csv", hashlib.md5(path.read_bytes()).hexdigest())


class TestArchives:
    def test_two_members_cost_one_download(self, archive, mirror, tmp_path):
        work = tmp_path / "work"
        fetch_member(archive, tmp_path / "ratings.csv", work, None, AT_ONCE)
        fetch_member(Archive(archive.url, "ml-x/movies.csv", archive.md5), tmp_path / "movies.csv", work, None, AT_ONCE)
        assert (tmp_path / "ratings.csv").read_bytes() == CONTENT
        assert (tmp_path / "movies.csv").read_bytes() == b"movieId,title,genres\n"
        assert len(mirror.seen) == 1

    def test_an_archive_with_another_digest_is_refused(self, archive, mirror, tmp_path):
        mirror.files["ml-x.zip"] += b" "
        with pytest.raises(DownloadError, match=r"ml-x\.zip is not the published file: its md5 is"):
            fetch_member(archive, tmp_path / "ratings.csv", tmp_path / "work", None, AT_ONCE)
        assert not (tmp_path / "ratings.csv").exists()

    def test_a_damaged_archive_is_removed_and_gives_no_member(self, archive, mirror, tmp_path):
        damaged = bytearray(mirror.files["ml-x.zip"])
        damaged[200] ^= 0xFF
        mirror.files["ml-x.zip"] = bytes(damaged)
        origin = Archive(archive.url, archive.member)
        with pytest.raises(DownloadError, match=r"ml-x\.zip is damaged .*it was removed: run again"):
            fetch_member(origin, tmp_path / "raw" / "ratings.csv", tmp_path / "work", None, AT_ONCE)
        assert not archive_path(origin, tmp_path / "work").exists()
        assert list((tmp_path / "raw").iterdir()) == []

    def test_a_member_that_is_not_the_published_one_is_refused(self, archive, tmp_path):
        with pytest.raises(DownloadError, match=r"is damaged \(ml-x/ratings\.csv is not the published file: its md5 is"):
            fetch_member(archive, tmp_path / "ratings.csv", tmp_path / "work", Expected(md5="0" * 32), AT_ONCE)
        assert not (tmp_path / "ratings.csv").exists()

    def test_a_member_that_is_not_there_is_told(self, archive, tmp_path):
        with pytest.raises(DownloadError, match=r"has no member 'ml-x/tags\.csv'"):
            extract(tmp_path / "made.zip", "ml-x/tags.csv", tmp_path / "tags.csv")
        assert (tmp_path / "made.zip").exists()


class TestDownload:
    SMALL = {"ml-latest-small/ratings.csv": b"userId,movieId,rating,timestamp\n1,1,4.0,964982703\n", "ml-latest-small/movies.csv": b"x\n"}

    @pytest.fixture
    def movielens(self, mirror, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with zipfile.ZipFile(tmp_path / "made.zip", "w") as made:
            for name, content in self.SMALL.items():
                made.writestr(name, content)
        mirror.files["ml-latest-small.zip"] = (tmp_path / "made.zip").read_bytes()
        return source_of({"type": "movielens", "url": mirror.url})

    def test_every_file_gets_to_its_place_and_the_archive_goes_when_all_are_out(self, movielens, mirror, tmp_path, capsys):
        paths, work = [Path(file.path) for file in movielens.raw_files()], tmp_path / "work"
        download(movielens, paths[:1], work, AT_ONCE)
        assert left(work) == ["ml-latest-small.zip"]
        download(movielens, paths[1:], work, AT_ONCE)
        assert left(work) == []
        assert [path.read_bytes() for path in paths] == list(self.SMALL.values())
        assert len(mirror.seen) == 1
        assert "licence: published for research by GroupLens" in capsys.readouterr().out

    def test_the_licence_is_said_before_the_first_byte(self, movielens, mirror, tmp_path, capsys):
        mirror.files.clear()
        with pytest.raises(DownloadError):
            download(movielens, [Path(movielens.raw_files()[0].path)], tmp_path / "work", AT_ONCE)
        assert "licence:" in capsys.readouterr().out.splitlines()[0]

    def test_a_path_that_is_none_of_the_sources_files_is_refused(self, movielens, tmp_path):
        with pytest.raises(ConfigurationError, match=r"elsewhere\.csv is none of the files .*/ml-latest-small/ratings\.csv"):
            download(movielens, [Path("elsewhere.csv")], tmp_path / "work", AT_ONCE)

    def test_an_unknown_type_is_told_with_the_known_ones(self):
        with pytest.raises(ConfigurationError, match=r"type is 'kafka'; it is one of demo, files, retailrocket, yoochoose, amazon_reviews"):
            source_of({"type": "kafka"})
