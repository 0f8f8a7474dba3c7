"""Prepared images by way of an object store: put there once, and said where that cannot be."""

import json
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]

from orchestrator.depot import SUMS, Depot, check
from trainables.errors import DataError, UsageError


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "stores" / "food11-8-abc"
    (folder / "truth").mkdir(parents=True)
    (folder / "images.u8").write_bytes(bytes(range(256)) * 9)
    (folder / "truth" / "train.maps").write_bytes(b"masks")
    (folder / ".lock").touch()
    return folder


@pytest.fixture(params=["file", "memory"])
def depot(request: pytest.FixtureRequest, store: Path, tmp_path: Path) -> Depot:
    MemoryFileSystem.store.clear()
    url = f"file://{tmp_path}/bucket" if request.param == "file" else "memory://bucket/deep"
    return Depot(url, store.name)


def arrived(depot: Depot, store: Path, name: str, here: Path, *, digest: str = "") -> bytes:
    from orchestrator.copies import digest_of

    sum_of = digest or digest_of(store / name)
    depot.fetch(name, (store / name).stat().st_size, here, digest=lambda: sum_of)
    return here.read_bytes()


def test_a_store_is_put_there_once(depot: Depot, store: Path, tmp_path: Path) -> None:
    assert depot.problem()
    assert depot.upload(store) == 2
    assert depot.problem() == ""
    assert depot.upload(store) == 0
    for name in ("images.u8", "truth/train.maps"):
        assert arrived(depot, store, name, tmp_path / "here" / name) == (store / name).read_bytes()


def test_only_what_came_later_is_put_there(depot: Depot, store: Path, tmp_path: Path) -> None:
    depot.upload(store)
    (store / "folds-3.i16").write_bytes(b"folds")
    assert depot.upload(store) == 1
    assert arrived(depot, store, "folds-3.i16", tmp_path / "folds") == b"folds"


def test_what_was_put_there_in_part_is_put_there_again(depot: Depot, store: Path) -> None:
    depot.upload(store)
    files, root = depot.open()
    files.rm(f"{root}/{SUMS}")
    files.pipe_file(f"{root}/images.u8", b"half")
    assert depot.upload(store) == 2
    assert files.cat_file(f"{root}/images.u8") == (store / "images.u8").read_bytes()


@pytest.mark.parametrize("content", [b"not json", b"[1]", json.dumps({"images.u8": 3}).encode()])
def test_strange_sums_count_for_nothing(depot: Depot, store: Path, content: bytes) -> None:
    files, root = depot.open()
    files.makedirs(root, exist_ok=True)
    files.pipe_file(f"{root}/{SUMS}", content)
    assert depot.upload(store) == 2


def test_bytes_that_are_not_the_heads_leave_nothing(depot: Depot, store: Path, tmp_path: Path) -> None:
    depot.upload(store)
    with pytest.raises(DataError, match="did not arrive as it is on the head"):
        arrived(depot, store, "images.u8", tmp_path / "here" / "images.u8", digest="0" * 64)
    assert list((tmp_path / "here").iterdir()) == []


def test_a_file_out_of_the_store_is_not_read(depot: Depot, store: Path, tmp_path: Path) -> None:
    depot.upload(store)
    with pytest.raises(DataError, match="is no file of"):
        depot.fetch("../secret", 1, tmp_path / "here", digest=str)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("bucket/folder", "is no URL"),
        ("nothing://bucket", "cannot be opened: ValueError"),
        ("file:///proc/nothing", "cannot be written"),
    ],
)
def test_where_nothing_can_be_put_that_is_said(store: Path, url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Depot(url, store.name).upload(store)


def test_a_share_is_for_a_cluster(tmp_path: Path) -> None:
    check(None, address=None)
    check(f"file://{tmp_path}", address="auto")
    with pytest.raises(UsageError, match="--share is where nodes of a cluster"):
        check(f"file://{tmp_path}", address=None)
    with pytest.raises(UsageError, match="is no URL"):
        check(str(tmp_path), address="auto")
