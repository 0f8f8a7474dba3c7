"""A small food11 search in real files, for the tests of what is made of one."""

import shutil
from pathlib import Path

import pytest

from orchestrator import folders
from tests.small_search import food11_search, food11_store
from trainables.store import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return food11_store(tmp_path_factory.mktemp("food11"))


@pytest.fixture
def search(tmp_path: Path, store: Store) -> folders.SearchFolder:
    """Four trials; `tmp_path / "data"` is a copy of the data that a test may change."""
    data = shutil.copytree(store.folder.parent.parent / "data", tmp_path / "data")
    return food11_search(tmp_path, store, [0.3, 0.8, 0.6, 0.7], data=data)
