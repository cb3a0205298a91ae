import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.files import write_json
from recsys.models.gru4rec import GRU4Rec
from recsys.models.gru4rec_ensemble import together
from recsys.models.gru4rec_forward import initial_arrays
from recsys.models.interface import FitContext, FitData, Model
from recsys.models.registry import model_class
from recsys.serving.export import export_model
from recsys.serving.package import build_package
from recsys.serving.settings import StageSettings
from recsys.serving.smoke import Server, running_server
from recsys.sessions.table import Sessions
from recsys.settings.blend import Member
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.settings.serving import ServeSettings

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

N_ITEMS = 60
MAX_LENGTH = 12


def integer_ids() -> list[int]:
    return [1000 + 7 * index for index in range(N_ITEMS)]


def random_gru4rec(layers: list[int], n_items: int = N_ITEMS, seed: int = 0, **parameters: object) -> GRU4Rec:
    """A GRU4Rec with random weights and, unlike a fresh one, random biases: the gates' biases are where exports go wrong."""
    random = np.random.default_rng(seed)
    model = GRU4Rec(GRU4RecParameters(layers=layers, **parameters))
    initial = together([initial_arrays(n_items, model.parameters, seed)] * model.parameters.members)
    model.n_items_ = n_items
    model.set_arrays({name: random.normal(size=array.shape).astype(np.float32) for name, array in initial.items()})
    return model


@dataclass
class Shop:
    """A tiny shop's files, up to its package."""

    folder: Path
    model: Model
    settings: StageSettings

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"

    @property
    def export(self) -> Path:
        return self.folder / "export"

    @property
    def package(self) -> Path:
        return self.folder / "package"

    @property
    def items(self) -> Path:
        return self.folder / "items.parquet"

    @property
    def test(self) -> Path:
        return self.folder / "test.parquet"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.json"


def make_shop(
    folder: Path, family: str = "gru4rec", ids: list | None = None, exclude: bool = False, start: int = 1_000_000, **parameters: object
) -> Shop:
    """Sessions, vocabulary, a model, its test metrics, its export and its package; `parameters` are those of a model over models."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    lists = [random.integers(0, N_ITEMS, random.integers(2, MAX_LENGTH + 5)).tolist() for _ in range(60)]
    vocabulary = pl.DataFrame(
        {
            "index": range(N_ITEMS),
            "code": range(N_ITEMS),
            "item_id": ids if ids is not None else integer_ids(),
            "support": range(N_ITEMS + 100, 100, -1),
        }
    )
    if family == "gru4rec":
        model: Model = random_gru4rec([8])
    elif family in ("blend", "reranker"):
        model = combined(folder, family, lists, vocabulary, **parameters)
    else:
        model = model_class(family)().fit(FitData(Sessions.from_lists(lists), vocabulary))
    shop = Shop(
        folder, model, StageSettings(shop="tiny", evaluation={"exclude_session_items": exclude}, serve={"max_session_length": MAX_LENGTH})
    )
    shop.model_folder.mkdir()
    model.save(shop.model_folder)
    vocabulary.write_parquet(shop.items)
    schema = {"items": pl.List(pl.Int32), "start": pl.Int64}
    pl.DataFrame({"items": lists[:20], "start": [start + session for session in range(20)]}, schema=schema).write_parquet(shop.test)
    write_json(
        shop.metrics, {"run": family, "model": family, "recall": {"20": slow_recall(model, lists[:20], exclude)}, "mrr": {}, "ndcg": {}}
    )
    export_model(shop.model_folder, shop.export, shop.settings)
    build_package(shop.export, shop.items, shop.package, shop.settings)
    return shop


def combined(folder: Path, family: str, lists: list[list[int]], vocabulary: pl.DataFrame, **parameters: object) -> Model:
    """A model over a network, neighbours and counts, whose lists are shorter than the vocabulary; it learned on the last sessions."""
    members = {"net": random_gru4rec([8])}
    for name, own in (("near", "session_knn"), ("follow", "item_to_item")):
        members[name] = model_class(own)().fit(FitData(Sessions.from_lists(lists), vocabulary))
    folders = {name: folder / "members" / name for name in members}
    for name, member in members.items():
        folders[name].mkdir(parents=True)
        member.save(folders[name])
    told = [
        Member(name=name, run=name, model=member.family, seed=member.seed, parameters=member.parameters.model_dump())
        for name, member in members.items()
    ]
    own = {"candidates": 40} | ({"rounds": 5, "least_in_leaf": 3, "depth": N_ITEMS} if family == "reranker" else {})
    valid = Sessions.from_lists(lists[20:])
    valid = Sessions(valid.items, valid.offsets, starts=np.arange(len(valid), dtype=np.int64))
    kind = model_class(family)
    model = kind(kind.parameters_class(combines=told, **own | parameters), seed=1)
    return model.fit(FitData(Sessions.from_lists(lists), vocabulary, valid), FitContext(members=folders))


def slow_recall(model: Model, lists: list[list[int]], exclude: bool) -> float:
    """Recall@20 one prediction at a time over whole sessions, ties against the target."""
    hits = []
    for session in lists:
        for position in range(1, len(session)):
            query = Sessions.from_lists([session[:position]])
            if exclude and not model.capabilities.exact_full_rank:
                # The members leave the session out of their lists, so that what they say of the others is another.
                items, listed = model.recommend(query, N_ITEMS, exclude=query)
                scores = np.full(N_ITEMS, -np.inf)
                scores[items[0, items[0] >= 0]] = listed[0, items[0] >= 0]
                if np.isneginf(scores[session[position]]):
                    hits.append(False)
                    continue
            else:
                scores = model.score_all(query)[0].copy()
                if exclude:
                    scores[session[:position]] = -np.inf
            hits.append(int((scores >= scores[session[position]]).sum()) <= 20)
    return float(np.mean(hits))


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return make_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def native_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return make_shop(tmp_path_factory.mktemp("native"), "item_to_item")


@pytest.fixture(scope="session")
def knn_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A native family whose package carries the extension, and an index that is mapped into memory."""
    return make_shop(tmp_path_factory.mktemp("knn"), "session_knn")


@pytest.fixture(scope="session")
def blend_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A model over models: its package carries a graph, an index, counts, and what combines them."""
    return make_shop(tmp_path_factory.mktemp("blend"), "blend")


@pytest.fixture(scope="session")
def reranker_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """As the blend's, and trees; what the session holds is left out."""
    return make_shop(tmp_path_factory.mktemp("reranker"), "reranker", exclude=True)


@pytest.fixture(scope="session")
def new_shop(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Shop]:
    return lambda **options: make_shop(tmp_path_factory.mktemp("shop"), **options)


@pytest.fixture(scope="session")
def server(shop: Shop) -> Iterator[Server]:
    with running_server(shop.package, ServeSettings(max_session_length=MAX_LENGTH)) as running:
        yield running
