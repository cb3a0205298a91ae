"""Files of Kaggle, through a made-up client in the place of Kaggle's own; and Kaggle's own where it finds no credentials."""

import os
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
import requests

from recsys.errors import DownloadError
from recsys.events.sources.download import download, source_of
from recsys.events.sources.kaggle_files import fetch_kaggle
from recsys.settings.raw_files import Expected, Kaggle

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = Kaggle("shop/log", "events.csv")
CONTENT = b"timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n"


class Client:
    """What of Kaggle's client is used."""

    def __init__(self, wrapped: bool = False, signed_in: bool = True, error: Exception | None = None):
        self.wrapped, self.signed_in, self.error = wrapped, signed_in, error
        self.asked: list[tuple[str, str]] = []

    def authenticate(self) -> None:
        if not self.signed_in:
            print("Authentication required to call the Kaggle API.")
            sys.exit(1)

    def dataset_download_file(self, dataset: str, file_name: str, path: str, force: bool, quiet: bool) -> bool:
        self.asked.append((dataset, file_name))
        if self.error is not None:
            raise self.error
        if self.wrapped:
            with zipfile.ZipFile(Path(path, f"{file_name}.zip"), "w") as archive:
                archive.writestr(file_name, CONTENT)
        else:
            Path(path, file_name).write_bytes(CONTENT)
        return True


@pytest.fixture
def kaggle(monkeypatch):
    def install(**options) -> Client:
        client = Client(**options)
        module = types.ModuleType("kaggle")
        module.api = client
        monkeypatch.setitem(sys.modules, "kaggle", module)
        return client

    return install


def refused(status: int) -> requests.HTTPError:
    answer = requests.Response()
    answer.status_code = status
    return requests.HTTPError(f"{status} Client Error", response=answer)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_file_arrives_wrapped_in_an_archive_or_not(wrapped, kaggle, tmp_path):
    client = kaggle(wrapped=wrapped)
    fetch_kaggle(ORIGIN, tmp_path / "raw" / "events.csv", tmp_path / "work", Expected(size=len(CONTENT)))
    assert (tmp_path / "raw" / "events.csv").read_bytes() == CONTENT
    assert [file.name for file in (tmp_path / "raw").iterdir()] == ["events.csv"]
    assert client.asked == [("shop/log", "events.csv")]
    assert not [path for path in (tmp_path / "work").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_without_credentials_it_is_said_which_files_to_put_where(kaggle, tmp_path, capsys):
    kaggle(signed_in=False)
    with pytest.raises(DownloadError) as caught:
        fetch_kaggle(ORIGIN, tmp_path / "events.csv", tmp_path / "work", None, ["items.csv", "tree.csv"])
    told = str(caught.value)
    for part in ("https://www.kaggle.com/datasets/shop/log", "KAGGLE_API_TOKEN", "put events.csv, items.csv, tree.csv", "source.folder"):
        assert part in told
    assert "\n" not in told
    assert "Authentication required" not in capsys.readouterr().out


def test_without_the_client_it_is_said_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "kaggle", None)
    with pytest.raises(DownloadError, match=r"cannot be imported \(.*kaggle.*\); install the group `download`.*or put events\.csv"):
        fetch_kaggle(ORIGIN, tmp_path / "events.csv", tmp_path / "work")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (refused(403), r"Kaggle refuses it \(403\): check the token, and open https://www\.kaggle\.com/datasets/shop/log once"),
        (refused(404), r"Kaggle has no such file \(404\)"),
        (requests.ConnectionError("no route to host"), r"no route to host; check the network and run again, .* goes on where it ended"),
        (ValueError("Downloaded file size (3) does not match expected size (9)"), r"does not match expected size \(9\); run again"),
    ],
)
def test_what_goes_wrong_is_told_in_one_sentence(error, told, kaggle, tmp_path):
    kaggle(error=error)
    with pytest.raises(DownloadError, match=told) as caught:
        fetch_kaggle(ORIGIN, tmp_path / "raw" / "events.csv", tmp_path / "work")
    assert "source.folder" in str(caught.value)
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_file_that_is_not_the_published_one_is_removed(wrapped, kaggle, tmp_path):
    kaggle(wrapped=wrapped)
    with pytest.raises(DownloadError, match=r"events\.csv of .* is not the published file: it has .* bytes instead of 1; it was removed"):
        fetch_kaggle(ORIGIN, tmp_path / "raw" / "events.csv", tmp_path / "work", Expected(size=1))
    assert not [path for path in tmp_path.rglob("events.csv*") if path.is_file() and path.suffix != ".lock"]


def test_the_files_of_retailrocket_come_from_its_data_set(kaggle, tmp_path, monkeypatch, capsys):
    client = kaggle(wrapped=True)
    monkeypatch.chdir(tmp_path)
    source = source_of({"type": "retailrocket", "verify": False})
    download(source, [Path("results/raw/retailrocket/events.csv")], Path("results/work/download"))
    assert Path("results/raw/retailrocket/events.csv").read_bytes() == CONTENT
    assert client.asked == [("retailrocket/ecommerce-dataset", "events.csv")]
    assert "CC BY-NC-SA 4.0" in capsys.readouterr().out.splitlines()[0]


def test_kaggles_own_client_without_credentials_ends_in_one_sentence(tmp_path):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("KAGGLE_")}
    environment = kept | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "recsys", "download", "results/raw/retailrocket/events.csv", "--settings", '{"type": "retailrocket"}']
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == DownloadError.exit_code
    (told,) = done.stderr.splitlines()
    assert told.startswith("recsys: https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset needs a Kaggle account")
    assert "put events.csv, item_properties_part1.csv, item_properties_part2.csv, category_tree.csv from" in told
    assert not (tmp_path / "results" / "raw").exists()
