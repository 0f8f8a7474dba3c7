"""Decoding once: what is stored, when it is reused, and what bad files and disks cost."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.images import food11_folder, photo
from trainables.decode import decode
from trainables.errors import DataError
from trainables.splits import complete
from trainables.store import Quarantined, Store, open_store, prepare
from trainables.task import PARTS, Sample, Splits
from trainables.tasks.food11 import LABEL, TASK, read


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return food11_folder(tmp_path_factory.mktemp("whole") / "food11", train=8, valid=3)


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    """A folder of one's own to spoil: 121 labelled pictures and 10 for the test."""
    return shutil.copytree(whole, tmp_path / "food11")


def splits(data: Path) -> Splits:
    return complete(read(data), heads=(LABEL,))


def made(data: Path, *, side: int = 8) -> Store:
    return prepare(TASK, splits(data), side=side, root=data.parent / "stores")


def left_in(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir() if not p.name.endswith(".lock"))


def test_every_picture_has_its_row(data: Path) -> None:
    store, given = made(data), splits(data)
    assert tuple(store.parts) == PARTS
    for name, part in store.parts.items():
        samples = given.part(name)
        assert part.ids == tuple(s.id for s in samples)
        assert part.images.dtype == np.uint8
        assert not part.images.flags.writeable
        for sample, image in zip(samples, part.images, strict=True):
            assert np.array_equal(image, decode(sample.path, 8))
        if name == "test":
            assert part.targets is None
        else:
            assert part.targets is not None
            assert part.targets.tolist() == [list(s.target or ()) for s in samples]
    assert not store.quarantined
    assert not store.notes


def test_the_manifest_says_what_each_row_is(data: Path) -> None:
    store = made(data)
    with (store.folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 131
    first = rows[0]
    assert (first["part"], first["id"], first["label"]) == ("train", "0_0", "0")
    assert (first["width"], first["height"], first["mode"]) == ("16", "16", "RGB")
    assert first["file"] == str(data / "training" / "0_0.jpg")
    assert len(first["sha256"]) == 64


def test_a_second_run_reuses_it_and_a_changed_file_part_or_side_does_not(data: Path) -> None:
    store = made(data)
    before = (store.folder / "images.u8").stat().st_mtime_ns
    again = made(data)
    assert again.folder == store.folder
    assert (again.folder / "images.u8").stat().st_mtime_ns == before
    folders = {store.folder, made(data, side=4).folder}
    photo(16, 16, seed=999).save(data / "training" / "0_0.jpg")
    folders.add(made(data).folder)
    (data / "validation" / "0_0.jpg").rename(data / "validation" / "1_9.jpg")
    folders.add(made(data).folder)
    assert len(folders) == 4


def test_progress_counts_every_picture(data: Path) -> None:
    seen: list[tuple[int, int]] = []
    prepare(TASK, splits(data), side=8, root=data.parent / "s", progress=lambda *pair: seen.append(pair))
    assert seen == [(k, 131) for k in range(1, 132)]


def test_pictures_are_not_enlarged(data: Path) -> None:
    assert made(data, side=64).side == 16


def test_several_heads_keep_their_labels(data: Path) -> None:
    given = splits(data)
    double = replace(given, train=tuple(replace(s, target=(*(s.target or ()), 7)) for s in given.train))
    store = prepare(TASK, double, side=8, root=data.parent / "stores")
    targets = store.parts["train"].targets
    assert targets is not None
    assert targets[:, 1].tolist() == [7] * 88


def test_a_bad_training_picture_is_left_out_with_its_reason(data: Path) -> None:
    path = data / "training" / "3_1.jpg"
    path.write_bytes(path.read_bytes()[:-20])
    store, given = made(data), splits(data)
    assert [(q.part, q.id, q.file) for q in store.quarantined] == [("train", "3_1", str(path))]
    assert "truncated" in store.quarantined[0].reason
    part = store.parts["train"]
    kept = [s for s in given.train if s.id != "3_1"]
    assert part.ids == tuple(s.id for s in kept)
    assert all(np.array_equal(i, decode(s.path, 8)) for i, s in zip(part.images, kept, strict=True))
    last = given.test[-1]
    assert np.array_equal(store.parts["test"].images[-1], decode(last.path, 8))
    assert open_store(store.folder).quarantined == store.quarantined


def test_a_bad_test_picture_keeps_its_row_in_gray(data: Path) -> None:
    path = data / "test" / "0004.jpg"
    path.write_text("<html>")
    store = made(data)
    bad = Quarantined(part="test", id="0004", file=str(path), reason="HTML or XML text, no image")
    assert store.quarantined == (bad,)
    assert len(store.parts["test"].ids) == 10
    assert (store.parts["test"].images[4] == 128).all()
    assert np.array_equal(store.parts["test"].images[5], decode(data / "test" / "0005.jpg", 8))


def test_one_percent_of_bad_pictures_is_refused_with_the_list(data: Path) -> None:
    (data / "training" / "3_1.jpg").write_bytes(b"")
    (data / "validation" / "5_0.jpg").unlink()
    (data / "validation" / "5_0.jpg").symlink_to(data / "gone.jpg")
    with pytest.raises(DataError, match="2 of 121 labelled pictures cannot be decoded") as caught:
        made(data)
    assert "3_1.jpg: the file is empty" in caught.value.what
    assert "5_0.jpg: cannot be read: No such file" in caught.value.what
    assert left_in(data.parent / "stores") == []


def test_a_long_list_of_bad_pictures_is_cut(data: Path) -> None:
    for path in (data / "training").glob("*_0.jpg"):
        path.write_bytes(b"?")
    for path in (data / "training").glob("*_1.jpg"):
        path.write_bytes(b"?")
    with pytest.raises(DataError, match=r"\.\.\. and 2 more"):
        made(data)


def test_a_pipe_among_the_pictures_does_not_hang_the_search(data: Path) -> None:
    (data / "test" / "0004.jpg").unlink()
    os.mkfifo(data / "test" / "0004.jpg")
    assert made(data).quarantined[0].reason == "no regular file"


def test_killed_decoders_cost_no_picture(data: Path) -> None:
    def kill(done: int, total: int) -> None:
        if done == 10:
            for child in psutil.Process().children():
                child.kill()

    store = prepare(TASK, splits(data), side=8, root=data.parent / "stores", workers=2, progress=kill)
    assert store.quarantined == ()
    assert np.array_equal(store.parts["train"].images, made(data).parts["train"].images)


@pytest.mark.parametrize("file", ["images.u8", "manifest.csv", "store.json"])
def test_a_damaged_store_is_refused_and_made_anew_with_a_note(data: Path, file: str) -> None:
    path = made(data).folder / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="cannot be used"):
        open_store(path.parent)
    store = made(data)
    assert "prepared anew" in store.notes[0]
    assert len(store.parts["train"].ids) == 88
    assert made(data).notes == ()


def test_a_store_of_another_version_is_refused(data: Path) -> None:
    path = made(data).folder / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 0}))
    with pytest.raises(DataError, match="another version"):
        open_store(path.parent)


def test_an_interrupted_build_leaves_nothing_and_dead_ones_are_cleared(data: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    root = data.parent / "stores"
    (root / ".food11-8-of-a-dead-process.building").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        prepare(TASK, splits(data), side=8, root=root, progress=stop)
    assert left_in(root) == []


PREPARE = """
import os, sys, pathlib
from trainables.splits import complete
from trainables.store import prepare
from trainables.tasks.food11 import LABEL, TASK, read
data, root = map(pathlib.Path, sys.argv[1:])
steps = []
splits = complete(read(data), heads=(LABEL,))
store = prepare(TASK, splits, side=8, root=root, progress=lambda *step: steps.append(step))
heavy = [m for m in ("torch", "pandas", "sklearn", "ray") if m in sys.modules]
print(len(steps), len(store.parts["train"].ids), heavy)
"""


def prepare_elsewhere(data: Path, root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PREPARE, str(data), str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_prepare_the_same_data_once_and_without_torch(data: Path) -> None:
    root = data.parent / "stores"
    both = [prepare_elsewhere(data, root) for _ in range(2)]
    answers = sorted(process.communicate()[0].strip() for process in both)
    assert answers == ["0 88 []", "131 88 []"]


def test_a_full_disk_is_named_and_nothing_is_left(data: Path) -> None:
    root = data.parent / "stores"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    command = [sys.executable, "-c", limit + PREPARE, str(data), str(root)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"The prepared images cannot be written to {root}: File too large." in ended.stderr
    assert left_in(root) == []


def test_a_place_that_cannot_be_written_is_named(data: Path) -> None:
    root = data / "sample.jpg" / "stores"
    (data / "sample.jpg").touch()
    with pytest.raises(DataError, match=r"stores: Not a directory") as caught:
        prepare(TASK, splits(data), side=8, root=root)
    assert "choose a folder" in caught.value.fix


def test_more_than_the_disk_holds_is_refused_before_decoding(data: Path) -> None:
    large = data / "training" / "0_0.jpg"
    photo(20_000, 1).save(large)
    many = tuple(Sample(id=str(k), path=large, target=(0,)) for k in range(2000))
    with pytest.raises(DataError, match=r"need 2,4\d\d,\d\d\d MB in .* MB free"):
        prepare(TASK, replace(splits(data), train=many), side=20_000, root=data.parent / "stores")
    assert left_in(data.parent / "stores") == []
