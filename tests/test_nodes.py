"""A node that shares no disk with the head: what it copies, when not, and what comes back."""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.copies import CHUNK, SCRATCH, HeadFiles, Home, fetch, inside, mark_of, send
from orchestrator.depot import SUMS, Depot
from orchestrator.nodes import Station, store_here
from orchestrator.probe import Facts, facts, lacks
from orchestrator.slot import Assignment
from tests.small_search import food11_store
from trainables import pretrained
from trainables.config import TrialConfig
from trainables.errors import DataError, UsageError
from trainables.store import Store


class Counted(HeadFiles):
    """The head's files, with the number of calls of each kind; `spoil` changes what is read."""

    def __init__(self, home: Home, spoil: Callable[[bytes], bytes] = bytes) -> None:
        super().__init__(home)
        self.calls: Counter[str] = Counter()
        self._spoil = spoil

    def read(self, path: str, start: int) -> bytes:
        self.calls["read"] += 1
        return self._spoil(super().read(path, start))

    def write(self, path: str, start: int, data: bytes) -> None:
        self.calls["write"] += 1
        super().write(path, start, data)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return food11_store(tmp_path_factory.mktemp("head"))


@pytest.fixture
def home(tmp_path: Path, store: Store) -> Home:
    search = tmp_path / "runs" / "food11" / "one"
    (search / "trials").mkdir(parents=True)
    mark_of(search).write_text("here")
    return Home(
        store=str(store.folder),
        fingerprint=store.fingerprint,
        search=str(search),
        task="food11",
        mark="here",
    )


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process works on another node: its folder."""
    monkeypatch.setenv(SCRATCH, str(tmp_path / "node"))
    return tmp_path / "node"


def assignment(home: Home, trial: str = "0000") -> Assignment:
    return Assignment(
        task="food11",
        store=home.store,
        folder=f"{home.trials}/{trial}",
        params={},
        threads=1,
        deadline=float("inf"),
        stop_file=f"{home.search}/STOP",
    )


def until(true: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_node_that_shares_the_disk_copies_nothing(home: Home) -> None:
    head = Counted(home)
    asked = assignment(home)
    assert Station(head, home).ready(asked) == asked
    assert not head.calls


def test_the_store_is_copied_once_whoever_asks(home: Home, away: Path, store: Store) -> None:
    head = Counted(home)
    with ThreadPoolExecutor(4) as threads:
        places = set(threads.map(lambda _: store_here(head, home), range(4)))
    copy = away / "stores" / store.folder.name
    assert places == {copy}
    files = {p.relative_to(copy): p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    assert files == {
        p.relative_to(store.folder): p.read_bytes() for p in store.folder.rglob("*") if p.is_file()
    }
    once = head.calls["read"]
    assert Station(head, home).ready(assignment(home)).store == str(copy)
    assert head.calls["read"] == once


def test_a_file_that_came_to_the_store_later_is_fetched(home: Home, away: Path, tmp_path: Path) -> None:
    later = replace(home, store=str(shutil.copytree(home.store, tmp_path / "stores" / Path(home.store).name)))
    copy = store_here(HeadFiles(later), later)
    (Path(later.store) / "folds-3.json").write_text("{}")
    assert store_here(HeadFiles(later), later) == copy
    assert (copy / "folds-3.json").read_text() == "{}"


def test_bytes_that_change_on_the_way_are_found(home: Home, away: Path) -> None:
    head = Counted(home, spoil=lambda data: bytes([data[0] ^ 1]) + data[1:] if data else data)
    with pytest.raises(DataError, match="did not arrive as it is on the head"):
        store_here(head, home)
    assert list((away / "stores").glob("[!.]*")) == []


def test_a_store_of_other_data_is_not_taken(home: Home, away: Path) -> None:
    other = replace(home, fingerprint="0" * 64)
    with pytest.raises(DataError, match="did not arrive whole"):
        store_here(HeadFiles(other), other)


def test_a_node_without_room_says_what_is_needed(
    home: Home, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(DataError, match="MB are free") as found:
        store_here(HeadFiles(home), home)
    assert SCRATCH in found.value.fix


@pytest.fixture
def shared(home: Home, store: Store, tmp_path: Path) -> Home:
    """The search with its store in an object store: a folder, by its URL."""
    url = f"file://{tmp_path}/bucket/stores"
    assert Depot(url, store.folder.name).upload(store.folder) == len(list(store.folder.iterdir()))
    return replace(home, share=url)


def bucket_of(home: Home) -> Path:
    return Path(home.share.removeprefix("file://")) / Path(home.store).name


def test_the_store_comes_from_an_object_store_where_one_is_named(
    shared: Home, away: Path, store: Store
) -> None:
    head = Counted(shared)
    copy = store_here(head, shared)
    assert copy == away / "stores" / store.folder.name
    for file in store.folder.iterdir():
        assert (copy / file.name).read_bytes() == file.read_bytes()
    assert head.calls["read"] == 0, "the head sent a file"


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "everything"])
def test_what_the_object_store_has_not_as_it_is_comes_from_the_head(
    shared: Home, away: Path, store: Store, damage: str
) -> None:
    images = bucket_of(shared) / "images.u8"
    whole = images.read_bytes()
    if damage == "changed":
        images.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    elif damage == "cut":
        images.write_bytes(whole[: len(whole) // 2])
    elif damage == "gone":
        images.unlink()
    else:
        shutil.rmtree(bucket_of(shared).parent)
    head = Counted(shared)
    copy = store_here(head, shared)
    assert (copy / "images.u8").read_bytes() == (store.folder / "images.u8").read_bytes() == whole
    assert head.calls["read"] > 0
    assert list((away / "stores").rglob("*.tmp")) == list((away / "stores").glob(".*.building")) == []


def test_a_node_that_cannot_read_the_object_store_says_so(shared: Home, away: Path) -> None:
    assert facts(shared, gpus=False).share == ""
    (bucket_of(shared) / SUMS).unlink()
    assert "FileNotFoundError" in facts(shared, gpus=False).share


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", ""])
def test_a_name_that_leads_out_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is no file of"):
        inside(tmp_path, name)


def weighted(home: Home, path: Path) -> tuple[Home, Assignment]:
    params = {"model": "resnet18.a1_in1k", "pretrained": True, "weights": str(path)}
    return replace(home, weights=str(path)), replace(assignment(home), params=params)


@pytest.mark.parametrize("given", ["folder", "file"])
def test_pretrained_weights_come_along(
    home: Home, away: Path, tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "resnet18.safetensors").write_bytes(b"weights")
    (folder / "vit.safetensors").write_bytes(b"of another model")
    asked, trial = weighted(home, folder if given == "folder" else folder / "resnet18.safetensors")
    station = Station(HeadFiles(asked), asked)
    ready = station.ready(trial)
    assert ready.params == trial.params, "a configuration is the same on every node"
    here = Path(station.weights_folder())
    assert here.is_relative_to(away)
    assert [file.name for file in here.iterdir()] == ["resnet18.a1_in1k.safetensors"]
    monkeypatch.setenv(pretrained.HERE, str(here))
    file = pretrained.weights_file(TrialConfig(**ready.params))
    assert file.is_relative_to(here)
    assert file.read_bytes() == b"weights"


def test_weights_are_copied_once_and_again_when_they_change(home: Home, away: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    file.write_bytes(b"first")
    asked, trial = weighted(home, file)
    head = Counted(asked)
    station = Station(head, asked)
    station.ready(trial)
    once = head.calls["read"]
    station.ready(trial)
    assert head.calls["read"] == once
    file.write_bytes(b"second")
    station.ready(trial)
    (copy,) = Path(station.weights_folder()).iterdir()
    assert copy.read_bytes() == b"second"


def test_weights_that_lie_as_on_the_head_stay_there(home: Home, tmp_path: Path) -> None:
    (tmp_path / "w.pth").touch()
    asked, trial = weighted(home, tmp_path / "w.pth")
    station = Station(HeadFiles(asked), asked)
    assert station.weights_folder() == ""
    assert station.ready(trial) == trial


def test_a_model_without_weights_is_named(home: Home, away: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    asked, trial = weighted(home, tmp_path / "empty")
    with pytest.raises(UsageError, match=r"has no resnet18\.a1_in1k\.safetensors"):
        Station(HeadFiles(asked), asked).ready(trial)


TRIAL = """
import sys, time
from pathlib import Path
folder = Path(sys.argv[1])
(folder / "checkpoints").mkdir()
(folder / "config.json").write_text("{}")
(folder / "checkpoints" / "1").write_text("one")
input()
(folder / "checkpoints" / "2").write_text("two")
(folder / "checkpoints" / "1").unlink()
input()
(folder / ".half").write_text("written")
(folder / "test.npz").write_text("answers")
"""


def test_what_a_trial_writes_is_at_home_while_it_runs_and_gone_here_when_it_is_over(
    home: Home, away: Path
) -> None:
    station = Station(HeadFiles(home), home)
    ready = station.ready(assignment(home))
    assert Path(ready.folder).is_relative_to(away)
    at_home = Path(home.trials) / "0000"
    with subprocess.Popen(
        [sys.executable, "-c", TRIAL, ready.folder], stdin=subprocess.PIPE, text=True
    ) as trial:
        station.follow("0000", trial.pid)
        assert trial.stdin is not None
        until((at_home / "checkpoints" / "1").exists)
        print(file=trial.stdin, flush=True)
        until((at_home / "checkpoints" / "2").exists)
        until(lambda: not (at_home / "checkpoints" / "1").exists())
        print(file=trial.stdin, flush=True)
    station.close(20)
    left = {p.relative_to(at_home).as_posix(): p.read_text() for p in at_home.rglob("*") if p.is_file()}
    assert left == {"config.json": "{}", "checkpoints/2": "two", "test.npz": "answers"}
    assert not Path(ready.folder).exists()


def test_a_trial_of_a_lost_node_goes_on_from_its_files_at_home(home: Home, away: Path) -> None:
    folder = Path(home.trials) / "0000"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "7").write_text("seven")
    stale = away / "searches" / "one" / "trials" / "0000" / "checkpoints"
    stale.mkdir(parents=True)
    (stale / "3").write_text("three")
    head = Counted(home)
    station = Station(head, home)
    ready = Path(station.ready(assignment(home)).folder)
    assert {p.name: p.read_text() for p in (ready / "checkpoints").iterdir()} == {"7": "seven"}
    station.deliver("0000")
    assert not head.calls["write"], "what came from home is not sent back"


def test_a_folder_that_somebody_removed_takes_nothing_away_at_home(home: Home, away: Path) -> None:
    station = Station(HeadFiles(home), home)
    ready = Path(station.ready(assignment(home)).folder)
    (ready / "weights.safetensors").write_text("best")
    station.deliver("0000")
    shutil.rmtree(ready)
    station.deliver("0000")
    assert (Path(home.trials) / "0000" / "weights.safetensors").read_text() == "best"


def test_the_word_to_stop_reaches_the_node(home: Home, away: Path) -> None:
    ready = Station(HeadFiles(home), home).ready(assignment(home))
    assert not Path(ready.stop_file).exists()
    (Path(home.search) / "STOP").touch()
    until(Path(ready.stop_file).exists)


def test_a_task_in_a_file_comes_along(home: Home, away: Path, tmp_path: Path) -> None:
    mine = tmp_path / "my_task.py"
    mine.write_text("TASK = None")
    own = replace(home, task=str(mine))
    ready = Station(HeadFiles(own), own).ready(assignment(own))
    assert Path(ready.task).is_relative_to(away)
    assert Path(ready.task).read_text() == "TASK = None"


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1])
def test_files_of_any_size_go_both_ways(home: Home, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "sent").write_bytes(data)
    there = f"{home.trials}/0000/file"
    send(HeadFiles(home), tmp_path / "sent", there)
    fetch(HeadFiles(home), there, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data


@pytest.mark.parametrize("path", ["/etc/passwd", "{trials}/../journal.jsonl", "{trials}/../../../../x", "x"])
def test_a_node_writes_nothing_but_trials(home: Home, path: str) -> None:
    head = HeadFiles(home)
    for attempt in (
        lambda p: head.write(p, 0, b"x"),
        lambda p: head.finish(p, ""),
        lambda p: head.remove(p),
    ):
        with pytest.raises(DataError, match="none of this search's files"):
            attempt(path.format(trials=home.trials))
    with pytest.raises(DataError, match="none of this search's files"):
        head.read("/etc/passwd", 0)


def test_what_will_not_arrive_any_more_is_swept(home: Home) -> None:
    head = HeadFiles(home)
    head.write(f"{home.trials}/0000/weights.safetensors", 0, b"half")
    head.sweep()
    assert list(Path(home.trials).rglob("*.arriving")) == []


def test_a_node_like_the_head_lacks_nothing(home: Home) -> None:
    here = facts(home, gpus=False)
    assert here.shares
    assert lacks(here, here, needed_bytes=0) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"python": "3.12.1"}, "Python 3.12.1, the head has 3.11"),
        ({"packages": {"torch": "1.0"}}, "torch 1.0, the head has 2."),
        ({"packages": {}}, "timm is missing, the head has"),
        ({"cuda": False}, "torch sees none of its GPUs"),
        ({"refused": "Permission denied"}, "cannot be written (Permission denied): set ORCH_SCRATCH"),
        ({"free_bytes": 10, "shares": False}, "MB are needed: set ORCH_SCRATCH"),
        ({"share": "PermissionError: no"}, "cannot read what --share names (PermissionError: no)"),
    ],
)
def test_what_a_node_lacks_is_said(home: Home, changes: dict[str, Any], words: str) -> None:
    here: Facts = facts(home, gpus=False)
    said = lacks(here, replace(here, **changes), needed_bytes=2_000_000)
    assert any(words in sentence for sentence in said), said


def test_a_folder_that_cannot_be_made_is_found(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(SCRATCH, str(tmp_path / "file" / "inside"))
    assert facts(home, gpus=False).refused == "Not a directory"
