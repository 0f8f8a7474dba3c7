"""A store of a dense kind: pictures at their own sizes, their truth beside them; and a trial on it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainables import gathered
from trainables.boxes import Boxes
from trainables.config import WHOLE, trial_config
from trainables.errors import DataError
from trainables.folding import pool, write_folds
from trainables.kinds.detection import Detection
from trainables.raw_rows import rewrite
from trainables.splits import complete
from trainables.store import Store, open_store, prepare
from trainables.task import DenseKind, Sample, Splits, Task, load_task
from trainables.train import EpochReport, train

WHEAT = load_task("global_wheat")
SMALL = {"model": "centres", "image_size": 48, "epochs": 2, "batch_size": 4, "width": 8}
SIZES = [(40, 56), (56, 40), (48, 48), (64, 40), (40, 40), (44, 60), (52, 52), (40, 64), (60, 44), (48, 56)]


def square(folder: Path, number: int) -> Sample:
    """Noise of a size of its own with a bright square on it, which is to be found."""
    rng = np.random.default_rng(number)
    height, width = SIZES[number % len(SIZES)]
    pixels = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
    x, y = int(rng.integers(4, width - 20)), int(rng.integers(4, height - 20))
    pixels[y : y + 16, x : x + 16] = rng.integers(180, 255, 3)
    path = folder / f"{number:03d}.png"
    Image.fromarray(pixels).save(path)
    return Sample(id=path.stem, path=path, target=(), truth=((float(x), float(y), x + 16.0, y + 16.0, 0),))


@pytest.fixture
def given(tmp_path: Path) -> Splits:
    samples = [square(tmp_path, number) for number in range(24)]
    test = tuple(dataclasses.replace(s, truth=None, target=None) for s in samples[20:])
    return Splits(train=tuple(samples[:20]), test=test)


def made(given: Splits, root: Path) -> Store:
    return prepare(WHEAT, complete(given, heads=WHEAT.targets), side=64, root=root / "stores")


def test_pictures_keep_their_sizes_and_their_truth(given: Splits, tmp_path: Path) -> None:
    store = made(given, tmp_path)
    assert store.side == 0
    by_id = {sample.id: sample for sample in (*given.train, *given.test)}
    for part in store.parts.values():
        assert len(part.images) == len(part.ids) > 0
        for row, (id, picture) in enumerate(zip(part.ids, part.images, strict=True)):
            assert np.array_equal(picture, np.asarray(Image.open(by_id[id].path)))
            assert not picture.flags.writeable
            if part.name != "test":
                assert part.targets.images[row][:, [0, 1, 2, 3, 5]].tolist() == [list(by_id[id].truth[0])]
    assert store.parts["test"].targets is None
    again = open_store(store.folder)
    assert [p.shape for p in again.parts["valid"].images] == [p.shape for p in store.parts["valid"].images]


def test_another_truth_makes_another_store(given: Splits, tmp_path: Path) -> None:
    first = made(given, tmp_path)
    moved = dataclasses.replace(given.train[0], truth=((0.0, 0.0, 9.0, 9.0, 0),))
    other = made(dataclasses.replace(given, train=(moved, *given.train[1:])), tmp_path)
    assert other.fingerprint != first.fingerprint
    assert made(given, tmp_path).folder == first.folder


def test_a_test_picture_that_cannot_be_read_is_gray_and_keeps_its_place(
    given: Splits, tmp_path: Path
) -> None:
    given.test[1].path.write_bytes(b"no picture")
    store = made(given, tmp_path)
    part = store.parts["test"]
    assert part.ids == tuple(sample.id for sample in given.test)
    assert len(np.unique(part.images[1])) == 1
    assert np.array_equal(part.images[2], np.asarray(Image.open(given.test[2].path)))
    assert [bad.id for bad in store.quarantined] == [given.test[1].id]


def test_a_turned_photo_is_stored_upright(given: Splits, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    Image.new("RGB", (30, 50), "red").save(given.test[0].path.with_suffix(".jpg"), exif=exif)
    turned = dataclasses.replace(given.test[0], path=given.test[0].path.with_suffix(".jpg"))
    store = made(dataclasses.replace(given, test=(turned, *given.test[1:])), tmp_path)
    assert store.parts["test"].images[0].shape == (30, 50, 3)


def test_a_picture_without_a_truth_is_refused(given: Splits) -> None:
    bare = dataclasses.replace(given.train[3], truth=None)
    with pytest.raises(DataError, match=r"003\.png: nothing says what is in it"):
        complete(dataclasses.replace(given, train=(bare, *given.train[4:])), heads=())


def test_rows_of_different_sizes_are_put_in_another_order(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_bytes(b"abbccc")
    rewrite(file, [2, 0, 1], [1, 2, 3])
    assert file.read_bytes() == b"cccabb"


def test_a_pool_has_the_pictures_and_the_truth_of_both_parts(given: Splits, tmp_path: Path) -> None:
    store = made(given, tmp_path)
    both = pool(store)
    assert len(both.images) == len(both.targets) == len(both.ids)
    last = store.parts["valid"]
    assert np.array_equal(both.images[-1], last.images[-1])
    assert np.array_equal(both.targets.images[-1], last.targets.images[-1])


@pytest.mark.parametrize("more", [{}, {"folds": 2, "fold": 1}, {"folds": WHOLE}])
def test_a_trial_learns_validates_and_writes_its_predictions(
    given: Splits, tmp_path: Path, more: dict[str, Any]
) -> None:
    store = made(given, tmp_path)
    if more.get("folds") == 2:
        write_folds(store, complete(given, heads=WHEAT.targets), 2)
    reports: list[EpochReport] = []

    def report(row: EpochReport) -> bool:
        reports.append(row)
        return True

    config = trial_config(
        {
            "model": "centres",
            "image_size": 48,
            "epochs": 2,
            "batch_size": 4,
            "width": 8,
            "tta": "flip",
            **more,
        }
    )
    result = train(WHEAT, store, config, report, folder=tmp_path / "trial")
    assert (result.epochs, len(reports)) == (2, 2)
    assert (reports[0].train_metric, reports[0].valid_loss) == (None, None)
    for name in ("valid", "holdout", "test"):
        found = gathered.load(tmp_path / "trial" / f"{name}.npz")
        assert isinstance(found, Boxes)
        if not more:
            assert found.ids == store.parts[name].ids


def test_the_same_seed_gives_the_same_bits(given: Splits, tmp_path: Path) -> None:
    store = made(given, tmp_path)
    config = trial_config(SMALL)
    for name in ("one", "two"):
        train(WHEAT, store, config, lambda _: True, folder=tmp_path / name)
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


def test_a_kind_of_classes_is_not_dense() -> None:
    assert isinstance(Detection(heads=WHEAT.kind.heads), DenseKind)
    food: Task = load_task("food11")
    assert not isinstance(food.kind, DenseKind)
    assert (WHEAT.targets, food.targets) == ((), food.kind.heads)
