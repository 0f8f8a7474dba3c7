"""Severstal from two folders and a table, in both forms, all the way into the answer."""

from pathlib import Path

import numpy as np
import pytest

from tests.images import photo
from trainables.errors import DataError, InvalidSubmission, UsageError
from trainables.kinds.segmentation import Segmentation
from trainables.maps import Maps
from trainables.mask_decisions import MEAN_DICE
from trainables.run_lengths import encode
from trainables.task import DenseKind, load_task
from trainables.tasks import severstal

TASK = load_task("severstal")
TRAIN = """ImageId,ClassId,EncodedPixels
a1.jpg,1,1 3 10 2
a1.jpg,4,20 5
a3.jpg,2,7 1
"""
TOGETHER = """ImageId_ClassId,EncodedPixels
a1.jpg_1,1 3 10 2
a1.jpg_2,
a1.jpg_4,20 5
a3.jpg_2,7 1
"""
ASKED = ["t2.jpg", "t0.jpg", "t1.jpg"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five training pictures, two of them with defects, and three of the test; sizes vary."""
    root = tmp_path / "severstal"
    for folder, names in (("train_images", [f"a{k}" for k in range(5)]), ("test_images", ["t0", "t1", "t2"])):
        (root / folder).mkdir(parents=True)
        for k, name in enumerate(names):
            photo(20 + 3 * k, 12 + k, seed=k).save(root / folder / f"{name}.jpg")
    (root / "train.csv").write_text(TRAIN)
    sample = [f"{id}_{label}," for id in ASKED for label in "1234"]
    (root / "sample_submission.csv").write_text("\n".join(["ImageId_ClassId,EncodedPixels", *sample]) + "\n")
    return root


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_runs_and_classes_are_read(data: Path) -> None:
    splits = severstal.read(data)
    assert splits.heads[0].classes == ("1", "2", "3", "4")
    assert [s.id for s in splits.train] == ["a0.jpg", "a1.jpg", "a2.jpg", "a3.jpg", "a4.jpg"]
    assert splits.train[1].truth == ("1 3 10 2", "", "", "20 5")
    assert [s.target for s in splits.train[1:4]] == [(1, 0, 0, 1), (0, 0, 0, 0), (0, 1, 0, 0)]
    assert [s.id for s in splits.test] == ASKED
    assert all(s.truth is None and s.target is None for s in splits.test)
    assert "finds nothing scores 0.8500" in " ".join(splits.notes)
    assert severstal.read(data.parent) == splits


def test_the_older_form_of_the_table_says_the_same(data: Path) -> None:
    new = severstal.read(data)
    (data / "train.csv").write_text(TOGETHER)
    assert severstal.read(data) == new


def test_without_a_sample_the_classes_are_those_of_the_table(data: Path) -> None:
    (data / "sample_submission.csv").unlink()
    splits = severstal.read(data)
    assert splits.heads[0].classes == ("1", "2", "4")
    assert [s.id for s in splits.test] == sorted(ASKED)


@pytest.mark.parametrize(
    ("file", "old", "new", "wrong"),
    [
        ("train.csv", "a3.jpg,2", "a9.jpg,2", r"train.csv, line 4: there is no image 'a9.jpg'"),
        ("train.csv", "a1.jpg,4", "a1.jpg,7", r"train.csv, line 3: unknown class '7'"),
        ("train.csv", "a1.jpg,4", "a1.jpg,1", r"train.csv, line 3: class '1' of 'a1.jpg' has a row already"),
        ("train.csv", "20 5", "20 5 22 1", r"train.csv, line 3: .* overlap"),
        ("train.csv", "7 1", "7 1 900 1", r"train.csv, line 4: .* ends past the last pixel, 435"),
        ("train.csv", "7 1", "7", r"train.csv, line 4: 1 numbers are no pairs"),
        ("sample_submission.csv", "t1.jpg", "t9.jpg", r"1 images of the sample submission have no picture"),
        ("sample_submission.csv", "t1.jpg", "t0.jpg", r"1 test pictures are not in the sample .*'t1.jpg'"),
    ],
)
def test_a_wrong_row_is_named(data: Path, file: str, old: str, new: str, wrong: str) -> None:
    edit(data / file, old, new)
    with pytest.raises(DataError, match=wrong):
        severstal.read(data)


@pytest.mark.parametrize("columns", [2, 3])
def test_the_answer_is_in_the_samples_form(data: Path, tmp_path: Path, columns: int) -> None:
    if columns == 3:
        edit(data / "sample_submission.csv", "ImageId_ClassId", "ImageId,ClassId")
        edit(data / "sample_submission.csv", ".jpg_", ".jpg,")
    splits = severstal.read(data)
    task = TASK.found_in(splits)
    ids = [s.id for s in splits.test]
    masks = [np.zeros((4, *task.answer.sizes[id]), np.float32) for id in ids]  # type: ignore[attr-defined]
    masks[1][2, 3:6, 4] = 1
    task.answer.write(Maps(ids=tuple(ids), images=masks), tmp_path / "submission.csv")
    task.answer.check(tmp_path / "submission.csv", ids)
    lines = (tmp_path / "submission.csv").read_text().splitlines()
    separator = "_" if columns == 2 else ","
    assert len(lines) == 13
    assert lines[7] == f"t0.jpg{separator}3,{encode(masks[1][2] > 0)}"
    edit(tmp_path / "submission.csv", encode(masks[1][2] > 0), "400 1")
    with pytest.raises(InvalidSubmission, match="line 8"):
        task.answer.check(tmp_path / "submission.csv", ids)


def test_the_task_is_a_dense_one_with_its_decision(data: Path) -> None:
    task = TASK.found_in(severstal.read(data))
    assert isinstance(task.kind, Segmentation)
    assert isinstance(task.kind, DenseKind)
    assert task.kind.heads[0].num_classes == 4
    assert task.metric is MEAN_DICE


def test_missing_data_say_where_to_get_it(data: Path) -> None:
    (data / "train.csv").rename(data / "labels.csv")
    with pytest.raises(UsageError, match=r"has no train\.csv") as caught:
        severstal.read(data)
    assert "kaggle competitions download" in caught.value.fix
