"""Reading the usual layouts, and saying what is wrong with them."""

from pathlib import Path

import pytest

from trainables.errors import DataError, OrchestratorError, UsageError
from trainables.layouts import class_folders, csv_labels, prefixed, unlabelled

CLASSES = ("cat", "dog")


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_images_come_in_the_order_of_their_names_and_others_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a.png", "c.webp", ".hidden.jpg", "notes.txt", "Thumbs.db", "deep/d.jpg")
    listing = unlabelled(tmp_path)
    assert [s.id for s in listing.samples] == ["a", "b", "c"]
    assert all(s.target is None for s in listing.samples)
    assert listing.notes == (f"{tmp_path}: 2 files are no images and were left out (Thumbs.db).",)


def test_the_label_stands_before_the_underscore(tmp_path: Path) -> None:
    listing = prefixed(touch(tmp_path, "dog_0.jpg", "cat_1_a.jpg"), CLASSES)
    assert [(s.id, s.target) for s in listing.samples] == [("cat_1_a", (0,)), ("dog_0", (1,))]


def test_the_label_is_the_folder(tmp_path: Path) -> None:
    listing = class_folders(touch(tmp_path, "dog/1.jpg", "cat/1.jpg", "cat/x.md", ".cache/1.jpg"), CLASSES)
    assert [(s.id, s.target) for s in listing.samples] == [("cat/1", (0,)), ("dog/1", (1,))]
    assert "x.md" in listing.notes[0]


def test_labels_come_from_a_table(tmp_path: Path) -> None:
    folder = touch(tmp_path / "images", "001.jpg", "002.jpg", "003.jpg")
    (tmp_path / "labels.csv").write_text('\ufeffid,who,label\n003,"me, too",dog\n001.jpg,me,cat\n')
    listing = csv_labels(tmp_path / "labels.csv", folder, columns=("id", "label"), classes=CLASSES)
    assert [(s.id, s.target) for s in listing.samples] == [("001", (0,)), ("003", (1,))]
    assert listing.notes == (f"1 images of {folder} have no row in labels.csv.",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "line 1: no column 'id'"),
        (b"id,class\n001,cat\n", "line 1: no column 'label'"),
        (b"id,label\n001,cat\n002\n", "line 3: 1 fields where the header has 2"),
        (b"id,label\n001,cat,cat\n", "line 2: 3 fields"),
        (b"id,label\n001,cow\n", "line 2: unknown label 'cow'"),
        (b"id,label\n001,cat\n1,cat\n", "line 3: there is no image '1'"),
        (b"id,label\n001,cat\n001.jpg,cat\n", "line 3: '001.jpg' has a row already"),
        (b'id,label\n001,"cat\n', "no whole CSV"),
        (b"id,label\n001,c\xe4t\n", "no whole CSV"),
    ],
)
def test_a_broken_table_is_refused_with_its_line(tmp_path: Path, text: bytes, reason: str) -> None:
    folder = touch(tmp_path / "images", "001.jpg", "002.jpg")
    (tmp_path / "labels.csv").write_bytes(text)
    with pytest.raises(DataError, match=reason) as caught:
        csv_labels(tmp_path / "labels.csv", folder, columns=("id", "label"), classes=CLASSES)
    assert "labels.csv" in caught.value.what


def test_what_is_missing_or_unknown_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "cow_1.jpg", "cow/1.jpg", "plain/1.jpg")
    table = tmp_path / "gone.csv"
    for call, kind, reason in (
        (lambda: unlabelled(tmp_path / "gone"), UsageError, "gone: No such file"),
        (lambda: prefixed(tmp_path, CLASSES), DataError, "cow_1.jpg: unknown label 'cow'"),
        (lambda: prefixed(tmp_path / "plain", CLASSES), DataError, "1.jpg: its name holds no label"),
        (lambda: class_folders(tmp_path, CLASSES), DataError, "cow: unknown label 'cow'"),
        (
            lambda: csv_labels(table, tmp_path, columns=("id", "label"), classes=CLASSES),
            UsageError,
            "gone.csv",
        ),
    ):
        with pytest.raises(OrchestratorError, match=reason) as caught:
            call()
        assert type(caught.value) is kind
