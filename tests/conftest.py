"""How tests share a machine: `make test` spreads their files over workers of pytest-xdist, one a core."""

import os

import pytest
from hypothesis import settings

# Time belongs to benchmarks: an example may have to wait for a core.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by torch when it is imported


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let workers begin with the files that run whole workflows, so that none is left alone with one of them at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: "workflow" not in item.path.parts)
