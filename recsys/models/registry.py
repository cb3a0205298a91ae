"""The model families by name. A family's module is imported when it is used, so that no run depends on another family's code."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.errors import ConfigurationError

if TYPE_CHECKING:
    from recsys.models.interface import Model

FAMILIES = {
    "gru4rec": ("recsys.models.gru4rec", "GRU4Rec"),
    "popularity": ("recsys.models.popularity", "Popularity"),
    "item_to_item": ("recsys.models.item_to_item", "ItemToItem"),
    "session_knn": ("recsys.models.session_knn", "SessionKNN"),
    "blend": ("recsys.models.blend", "Blend"),
    "reranker": ("recsys.models.reranker", "Reranker"),
}
"""Family name to (module, class). `recsys.provenance` adds the module to the code digest of the runs that use it."""


def model_class(family: str) -> "type[Model]":
    """The class of a family."""
    if family not in FAMILIES:
        raise ConfigurationError(f"there is no model family {family!r}; the families are {', '.join(FAMILIES)}")
    module, name = FAMILIES[family]
    return getattr(import_module(module), name)


def load_model(folder: Path) -> "Model":
    """The fitted model in a folder that `Model.save` wrote, whatever its family."""
    from recsys.models.interface import read_manifest

    return model_class(read_manifest(folder)["family"]).load(folder)
