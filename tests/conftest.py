"""A small food11 search in real files, for the tests of what is made of one."""

import os
import shutil
from pathlib import Path

import pytest

from orchestrator import folders
from tests.small_search import food11_search, food11_store
from trainables.store import Store

# Ray's own 15 starves the trials of a search beside the other worker's tests
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
LONGEST = (
    "test_search",
    "test_chaos",
    "test_final_search",
    "test_resume",
    "test_ablate",
    "test_sockets",
    "test_task_file",
)
"""Files that start Ray: begun first, so that no worker is left alone with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return food11_store(tmp_path_factory.mktemp("food11"))


@pytest.fixture
def search(tmp_path: Path, store: Store) -> folders.SearchFolder:
    """Four trials; `tmp_path / "data"` is a copy of the data that a test may change."""
    data = shutil.copytree(store.folder.parent.parent / "data", tmp_path / "data")
    return food11_search(tmp_path, store, [0.3, 0.8, 0.6, 0.7], data=data)
