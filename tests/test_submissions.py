"""The answer file: written as wanted, and refused with the reason when spoiled."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.errors import DataError, InvalidSubmission
from trainables.predictions import Dense
from trainables.submissions import CsvAnswer, organisers_order
from trainables.task import Head

ANSWER = CsvAnswer(head=Head(name="label", classes=tuple(str(k) for k in range(11))))
IDS = tuple(f"{k:04d}" for k in range(30))


def predictions(ids: tuple[str, ...] = IDS, classes: int = 11) -> Dense:
    return Dense(ids=ids, fields={"label": np.eye(classes, dtype=np.float32)[np.arange(len(ids)) % classes]})


@pytest.fixture
def good(tmp_path: Path) -> Path:
    ANSWER.write(predictions(), tmp_path / "submission.csv")
    return tmp_path / "submission.csv"


def test_the_most_likely_class_is_written_in_the_given_order(good: Path) -> None:
    lines = good.read_text().splitlines()
    assert lines[:3] == ["Id,Category", "0000,0", "0001,1"]
    assert lines[12] == "0011,0"
    assert len(lines) == 31
    assert list(good.parent.iterdir()) == [good]
    ANSWER.check(good, IDS)


def test_windows_line_ends_pass(good: Path) -> None:
    good.write_bytes(good.read_bytes().replace(b"\n", b"\r\n"))
    ANSWER.check(good, IDS)


SPOILED: dict[str, tuple[Callable[[str], str | bytes], str]] = {
    "empty": (lambda _: "", "is empty"),
    "mark": (lambda text: "\ufeff" + text, "line 1: a byte order mark"),
    "latin": (
        lambda text: text.replace("0003,3", "0003,\xe9").encode("latin-1"),
        "line 5: bytes .* not UTF-8",
    ),
    "quote": (lambda text: text.replace("0003,3", '0003,"3'), "broken CSV"),
    "no header": (lambda text: text.removeprefix("Id,Category\n"), "line 1: the header is missing"),
    "swapped": (lambda text: text.replace("Id,Category", "Category,Id"), "line 1: the columns are swapped"),
    "header": (lambda text: text.replace("Id,Category", "id,label"), "line 1: wrong header 'id,label'"),
    "semicolons": (lambda text: text.replace(",", ";"), "line 1: no comma"),
    "index column": (lambda text: text.replace("\n0003,", "\n3,0003,"), "line 5: 3 columns instead of 2"),
    "cut row": (lambda text: text.replace("0003,3", "0003"), "line 5: 1 columns instead of 2"),
    "blank line": (lambda text: text.replace("0003,3", "\n0003,3"), "line 5: an empty line"),
    "class 11": (lambda text: text.replace("0003,3", "0003,11"), "line 5: unknown label '11'"),
    "no label": (lambda text: text.replace("0003,3", "0003,"), "line 5: no label for '0003'"),
    "float": (
        lambda text: text.replace("0003,3", "0003,3.0"),
        "line 5: the label '3.0' is written as a float",
    ),
    "label space": (lambda text: text.replace("0003,3", "0003, 3"), "line 5: spaces around the label ' 3'"),
    "id space": (lambda text: text.replace("0003,3", "0003 ,3"), "line 5: spaces around the id '0003 '"),
    "no id": (lambda text: text.replace("0003,3", ",3"), "line 5: no id"),
    "zeros": (lambda text: text.replace("0003,", "3,"), "line 5: the id '3' should read '0003'"),
    "zero": (lambda text: text.replace("0000,", "0,"), "line 2: the id '0' should read '0000'"),
    "float id": (lambda text: text.replace("0003,", "3.0,"), "line 5: the id '3.0' should read '0003'"),
    "unexpected": (lambda text: text + "0030,1\n", "line 32: no test image has the id '0030'"),
    "file name": (
        lambda text: text.replace("0003,", "0003.jpg,"),
        "line 5: no test image has the id '0003.jpg'",
    ),
    "twice": (lambda text: text + "0003,3\n", "line 32: the id '0003' stands in line 5 already"),
    "missing": (
        lambda text: text.replace("0003,3\n", ""),
        "29 rows for 30 test images; the id '0003' is missing",
    ),
    "cut": (lambda text: text[:-21], "27 rows for 30 test images; the id '0027' is missing, and 2 more"),
    "order": (
        lambda text: text.replace("0003,3\n0004,4\n", "0004,4\n0003,3\n"),
        "line 5: wrong order: the id '0004' where '0003' is due",
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_copy_is_refused_with_its_own_reason(good: Path, name: str) -> None:
    spoil, reason = SPOILED[name]
    spoiled = spoil(good.read_text())
    good.write_bytes(spoiled if isinstance(spoiled, bytes) else spoiled.encode())
    with pytest.raises(InvalidSubmission, match=reason) as caught:
        ANSWER.check(good, IDS)
    assert str(good) in caught.value.what
    assert caught.value.fix
    assert caught.value.exit_code == 3


def test_no_two_spoils_share_a_reason() -> None:
    assert len({reason.partition(": ")[2] or reason for _, reason in SPOILED.values()}) == len(SPOILED)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSubmission, match=r"gone\.csv does not exist"):
        ANSWER.check(tmp_path / "gone.csv", IDS)
    with pytest.raises(InvalidSubmission, match="cannot be read: Is a directory"):
        ANSWER.check(tmp_path, IDS)


def test_a_place_that_cannot_be_written_is_named_and_nothing_is_left(good: Path) -> None:
    with pytest.raises(DataError, match="submission cannot be written"):
        ANSWER.write(predictions(), good / "submission.csv")


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1),
        unique=True,
        min_size=1,
        max_size=8,
    ),
    st.data(),
)
def test_what_is_written_passes_whatever_the_names(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject
) -> None:
    answer = CsvAnswer(head=Head(name="label", classes=tuple(names)))
    ids = tuple(data.draw(st.permutations(names)))
    path = tmp_path_factory.getbasetemp() / "any.csv"
    answer.write(predictions(ids, len(names)), path)
    answer.check(path, ids)


def test_the_organisers_order_is_kept(tmp_path: Path) -> None:
    sample = tmp_path / "sample.csv"
    sample.write_text("\ufeffId,Category\r\nb,0\r\nc,0\r\na,0\r\n\r\n")
    assert organisers_order(sample, ["a", "b", "c"]) == ("b", "c", "a")
    assert organisers_order(None, ["a", "b"]) == ("a", "b")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ('Id,Category\n"a,0\n', "broken CSV"),
        ("Id,Category\na,0\nb,0\na,0\n", "1 ids stand there twice"),
        ("Id,Category\na,0\nb,0\nd,0\n", "1 ids of the sample submission have no test picture .*'d'"),
        ("Id,Category\na,0\n", "1 test pictures are not in the sample submission .*'b'"),
    ],
)
def test_a_sample_that_is_broken_or_of_other_pictures_is_reported(
    tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "sample.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        organisers_order(tmp_path / "sample.csv", ["a", "b"])
