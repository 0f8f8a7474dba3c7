"""Any folder of pictures: what is recognised, what is said of it, and what is refused."""

import os
from pathlib import Path

import pytest

from orchestrator.data import read as read_data
from tests.images import photo
from trainables.errors import DataError, OrchestratorError, UsageError
from trainables.store import prepare
from trainables.submissions import CsvAnswer, organisers_order
from trainables.task import PARTS, Splits, load_task
from trainables.tasks import folder


def pictures(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        photo(seed=seed).save(root / name)
    return root


def classes(where: str = "", *, each: int = 3) -> list[str]:
    return [f"{where}{name}/{k}.jpg" for name in ("cat", "dog") for k in range(each)]


def labels(splits: Splits, part: str = "train") -> dict[str, str]:
    """Label by id."""
    names = splits.heads[0].classes
    return {s.id: names[s.target[0]] for s in splits.part(part) if s.target is not None}


def said(splits: Splits) -> str:
    return "\n".join(splits.notes)


def test_a_folder_a_class_is_recognised(tmp_path: Path) -> None:
    splits = folder.read(pictures(tmp_path, *classes()))
    assert splits.heads[0].classes == ("cat", "dog")
    assert labels(splits) == {name: name[:3] for name in classes()}
    assert (splits.valid, splits.test) == ((), ())
    assert "Labels are the names of folders." in splits.notes
    assert "No test part was found: there will be no submission." in splits.notes


def test_classes_that_are_numbers_come_in_the_order_of_numbers(tmp_path: Path) -> None:
    splits = folder.read(pictures(tmp_path, "10/a.jpg", "9/a.jpg", "2/a.jpg"))
    assert splits.heads[0].classes == ("2", "9", "10")


@pytest.mark.parametrize("valid", ["valid", "val", "Validation"])
def test_parts_are_recognised_by_their_names(tmp_path: Path, valid: str) -> None:
    names = [*classes("train/"), *classes(f"{valid}/", each=1), "test/b.jpg", "test/a.jpg"]
    splits = folder.read(pictures(tmp_path, *names))
    assert [len(splits.part(name)) for name in PARTS] == [6, 2, 0, 2]
    assert [s.id for s in splits.test] == ["a.jpg", "b.jpg"]
    assert all(s.target is None for s in splits.test)
    assert f"valid is {valid}/." in splits.notes


def test_a_test_part_beside_class_folders_is_not_a_class(tmp_path: Path) -> None:
    splits = folder.read(pictures(tmp_path, *classes(), "test/1.jpg"))
    assert splits.heads[0].classes == ("cat", "dog")
    assert len(splits.test) == 1


def test_a_test_part_with_known_classes_is_scored_and_said_so(tmp_path: Path) -> None:
    splits = folder.read(pictures(tmp_path, *classes("train/"), *classes("test/", each=1)))
    assert labels(splits, "test") == {"cat/0.jpg": "cat", "dog/0.jpg": "dog"}
    assert "The test part has labels" in said(splits)


@pytest.mark.parametrize("header", ["file,label", "Image,Class", "filename,category", "id,label"])
def test_a_table_beside_the_images_is_read_whatever_its_columns(tmp_path: Path, header: str) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "labels.csv").write_text(f"{header}\na.jpg,yes\nb,no\n")
    splits = folder.read(tmp_path)
    assert labels(splits) == {"a.jpg": "yes", "b.jpg": "no"}
    assert "Labels are the rows of labels.csv." in splits.notes
    assert "Pictures without a label were left out: c.jpg." in splits.notes


def test_a_table_may_name_pictures_of_every_part(tmp_path: Path) -> None:
    pictures(tmp_path, "train/1.jpg", "train/2.jpg", "val/1.jpg", "test/9.jpg")
    (tmp_path / "labels.csv").write_text("path,label\ntrain/1.jpg,x\ntrain/2.jpg,y\nval/1.jpg,y\n")
    splits = folder.read(tmp_path)
    assert labels(splits) == {"train/1.jpg": "x", "train/2.jpg": "y"}
    assert labels(splits, "valid") == {"val/1.jpg": "y"}
    assert [s.id for s in splits.test] == ["9.jpg"]


def test_a_single_folder_around_the_data_is_entered(tmp_path: Path) -> None:
    splits = folder.read(pictures(tmp_path, *classes("archive/photos/")))
    assert len(splits.train) == 6
    assert f"The data are taken from {tmp_path / 'archive' / 'photos'}." in splits.notes


def test_deeper_pictures_belong_to_their_class_and_nothing_is_lost_in_silence(tmp_path: Path) -> None:
    pictures(tmp_path, *classes(), "cat/2020/may/x.jpg", "stray.jpg")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    splits = folder.read(tmp_path)
    assert labels(splits)["cat/2020/may/x.jpg"] == "cat"
    assert splits.heads[0].classes == ("cat", "dog")
    for sentence in (
        "Pictures deeper in a class folder are of that class: cat/2020/may/x.jpg.",
        "Pictures without a label were left out: stray.jpg.",
        "Files that are no pictures were left out: notes.txt.",
        "Folders without pictures are no classes: empty.",
    ):
        assert sentence in splits.notes


def test_pictures_of_one_stem_stay_apart(tmp_path: Path) -> None:
    splits = folder.read(pictures(tmp_path, *classes(), "cat/0.png"))
    assert len({s.id for s in splits.train}) == 7


def test_the_sample_submission_says_how_the_answer_looks(tmp_path: Path) -> None:
    pictures(tmp_path, *classes("train/"), "test/002.jpg", "test/001.jpg")
    (tmp_path / "sample_submission.csv").write_text("ImageId,Kind\n002,cat\n001,cat\n")
    splits = folder.read(tmp_path)
    assert isinstance(splits.answer, CsvAnswer)
    assert splits.answer.columns == ("ImageId", "Kind")
    assert organisers_order(splits.sample_submission, [s.id for s in splits.test]) == ("002", "001")


def test_names_that_are_no_utf8_are_spelled_out_and_kept(tmp_path: Path) -> None:
    pictures(tmp_path, *classes(each=8))
    odd = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(odd)
    for k in range(8):
        os.link(tmp_path / "cat" / f"{k}.jpg", odd + b"/\xff%d.jpg" % k)
    _, task, splits = read_data(load_task("folder"), tmp_path)
    assert task.kind.heads[0].classes == ("caf\\xe9", "cat", "dog")
    store = prepare(task, splits, side=16, root=tmp_path.parent / "stores", workers=1)
    assert not store.quarantined
    assert sum(len(part.ids) for part in store.parts.values()) == 24


@pytest.mark.parametrize(
    ("names", "table", "reason"),
    [
        (["a.jpg", "b.jpg"], None, "2 pictures in .*, and no labels"),
        (
            ["a.jpg"],
            "file,label\na.jpg,x\ngone.jpg,y\n",
            "labels.csv, line 3: there is no picture 'gone.jpg'",
        ),
        (["a.jpg"], "file,label\na.jpg,x\na,x\n", "line 3: 'a' has a row already"),
        (["a.jpg"], "file,label\na.jpg, \n", "line 2: no label for 'a.jpg'"),
        (["a.jpg"], "file,colour\na.jpg,red\n", "line 1: no column for the picture and the label"),
        (["a.jpg"], "file;label\na.jpg;red\n", "line 1: no column for the picture and the label"),
        (["a.jpg"], "file,label\na.jpg\n", "line 2: 1 fields where the header has 2"),
        (["a.jpg"], b"file,label\na.jpg,\xe9\n", "no whole CSV file"),
        (["x/a.jpg", "y/a.jpg"], "file,label\na.jpg,x\n", "line 2: 'a.jpg' may be x/a.jpg and y/a.jpg"),
        (
            ["train/x/a.jpg", "train/y/a.jpg", "val/z/a.jpg"],
            None,
            "a.jpg: class 'z' of valid has no training",
        ),
    ],
)
def test_what_cannot_be_told_is_refused_with_its_place(
    tmp_path: Path, names: list[str], table: str | bytes | None, reason: str
) -> None:
    pictures(tmp_path, *names)
    if table is not None:
        (tmp_path / "labels.csv").write_bytes(table.encode() if isinstance(table, str) else table)
    with pytest.raises(DataError, match=reason) as caught:
        folder.read(tmp_path)
    assert caught.value.fix


def test_one_class_and_no_pictures_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone is no folder") as caught:
        folder.read(tmp_path / "gone")
    assert f"{tmp_path / 'gone'}/labels.csv" in caught.value.fix
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty holds no pictures"):
        folder.read(tmp_path / "empty")
    pictures(tmp_path / "one", "cat/1.jpg", "cat/2.jpg")
    with pytest.raises(OrchestratorError, match="All training images have the one label 'cat'"):
        read_data(load_task("folder"), tmp_path / "one")
