"""Three heads from tables of pixels: what is read, what is refused, and the answer's rows."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tables import NAMES, bengali_folder, labels_of, picture, write_table
from trainables.errors import DataError, InvalidSubmission, UsageError
from trainables.pixels import COLUMNS, HEADER, ID, read_table, square
from trainables.predictions import Dense
from trainables.splits import complete
from trainables.store import header_of, prepare
from trainables.task import Head, load_task
from trainables.tasks import bengali

TASK = load_task("bengali")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bengali_folder(tmp_path_factory.mktemp("whole") / "bengali")


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    """A folder of one's own to spoil."""
    return shutil.copytree(whole, tmp_path / "bengali")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_the_heads_are_found_in_the_data_in_the_order_of_the_answer(whole: Path) -> None:
    splits = bengali.read(whole)
    assert [(h.name, h.num_classes, h.weight) for h in splits.heads] == [
        ("consonant_diacritic", 2, 1.0),
        ("grapheme_root", 3, 2.0),
        ("vowel_diacritic", 2, 1.0),
    ]
    assert [s.target for s in splits.train] == [(c, r, v) for r, v, c in labels_of(24)]
    assert [s.row for s in splits.train] == [*range(12), *range(12)]
    assert [s.id for s in splits.test] == ["Test_0", "Test_1", "Test_2", "Test_3"]
    assert bengali.read(whole.parent) == splits
    assert header_of(splits.train[0]) == HEADER


def test_every_row_of_the_tables_is_stored_by_row_groups_as_if_it_were_a_file(
    whole: Path, tmp_path: Path
) -> None:
    splits = bengali.read(whole)
    task = TASK.found_in(splits)
    done: list[tuple[int, int]] = []
    parts = complete(splits, heads=task.kind.heads)
    store = prepare(task, parts, side=16, root=tmp_path, workers=1, progress=lambda *told: done.append(told))
    for name, part in store.parts.items():
        assert part.ids == tuple(s.id for s in parts.part(name))
        for id, image in zip(part.ids, part.images, strict=True):
            number = int(id.split("_")[1]) + (1000 if name == "test" else 0)
            assert np.array_equal(image, square(picture(number), 16)), id
    assert store.heads == task.kind.heads
    assert read_table(whole / "train_image_data_0.parquet").groups == (5, 5, 2)
    assert done[-1] == (28, 28)
    assert [
        p for p in store.folder.iterdir() if p.name not in ("images.u8", "manifest.csv", "store.json")
    ] == []


def test_the_writing_is_centred_whatever_its_place_and_a_blank_picture_is_shown() -> None:
    paper = np.full((137, 236), 250, np.uint8)
    corner, middle = paper.copy(), paper.copy()
    corner[:50, :30] = 20
    middle[40:90, 100:130] = 20
    assert np.array_equal(square(corner, 32), square(middle, 32))
    assert (square(corner, 32)[16, 16] == 20).all()
    assert (square(paper, 8) == 250).all()


def test_a_lone_dot_stays_small() -> None:
    dot = np.full((137, 236), 255, np.uint8)
    dot[60:64, 100:104] = 0
    assert (square(dot, 40)[..., 0] < 128).mean() < 0.05


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("Train_3,", "Train_33,", r"1 images have no picture \(first: 'Train_33'\)"),
        ("Train_3,0", "Train_2,0", r"train.csv, line 5: 'Train_2' stands in line 4 already"),
        ("Train_3,0", "Train_3,x", r"train.csv, line 5: grapheme_root is 'x', no class"),
        ("Train_3,0", "Train_3,", r"line 5: grapheme_root is '', no class"),
        ("grapheme_root", "root", "no column 'grapheme_root'"),
    ],
)
def test_a_wrong_label_row_is_named(data: Path, old: str, new: str, wrong: str) -> None:
    edit(data / "train.csv", old, new)
    with pytest.raises(DataError, match=wrong):
        bengali.read(data)


def test_pictures_without_a_row_are_left_out_with_a_note(data: Path) -> None:
    edit(data / "train.csv", "Train_3,0,1,1\n", "")
    splits = bengali.read(data)
    assert len(splits.train) == 23
    assert (
        "1 pictures of train_image_data_*.parquet have no row in train.csv (first: 'Train_3')"
        in (splits.notes[0])
    )


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("Test_1_grapheme_root,", "Test_1_root,", "line 6: row_id 'Test_1_root'"),
        ("Test_3_vowel_diacritic,Test_3,vowel_diacritic\n", "", "11 rows where 4 images"),
        ("Test_1_vowel_diacritic,Test_1", "Test_9_vowel_diacritic,Test_9", "line 7: row_id"),
        ("image_id", "picture", "no column 'image_id'"),
    ],
)
def test_a_wrong_row_of_the_test_list_is_named(data: Path, old: str, new: str, wrong: str) -> None:
    edit(data / "test.csv", old, new)
    with pytest.raises(DataError, match=wrong):
        bengali.read(data)


def test_a_missing_table_and_missing_data_say_what_to_fetch(data: Path) -> None:
    (data / "train_image_data_1.parquet").unlink()
    with pytest.raises(DataError, match="12 images have no picture") as caught:
        bengali.read(data)
    assert "train_image_data_*.parquet" in caught.value.fix
    (data / "train_image_data_0.parquet").unlink()
    with pytest.raises(UsageError, match="has no train_image_data"):
        bengali.read(data)
    with pytest.raises(UsageError, match="does not exist") as gone:
        bengali.read(data / "gone")
    assert "bengaliai-cv19" in gone.value.fix


@pytest.mark.parametrize("left", [0, 2000, -5000])
def test_a_truncated_table_is_named(data: Path, left: int) -> None:
    file = data / "train_image_data_0.parquet"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(DataError, match=r"train_image_data_0.parquet is no whole parquet file") as caught:
        bengali.read(data)
    assert caught.value.fix == "Fetch the file again, whole."


def test_a_damaged_row_group_is_named_when_it_is_decoded(data: Path, tmp_path: Path) -> None:
    file = data / "train_image_data_0.parquet"
    splits = bengali.read(data)
    content = bytearray(file.read_bytes())
    content[2000:200_000] = bytes(198_000)
    file.write_bytes(bytes(content))
    task = TASK.found_in(splits)
    with pytest.raises(DataError, match=r"train_image_data_0\.parquet"):
        prepare(task, complete(splits, heads=task.kind.heads), side=8, root=tmp_path / "s", workers=1)
    file.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        prepare(task, complete(splits, heads=task.kind.heads), side=8, root=tmp_path / "s", workers=1)


def small_table(path: Path, columns: dict[str, pa.Array]) -> None:
    pq.write_table(pa.table(columns), path)


def test_wrong_columns_are_named(tmp_path: Path) -> None:
    file = tmp_path / "wrong.parquet"
    gray = pa.array([1, 2], pa.uint8())
    small_table(file, {"0": gray, "1": gray})
    with pytest.raises(DataError, match="no column 'image_id'"):
        read_table(file)
    small_table(file, {ID: pa.array(["a", "b"]), "0": gray, "1": gray})
    with pytest.raises(DataError, match=r"2 pixel columns where 137 x 236 px are 32332 .*'2'"):
        read_table(file)
    small_table(file, {ID: pa.array(["a", "b"]), "0": gray, "width": gray})
    with pytest.raises(DataError, match="'width'"):
        read_table(file)
    floats = {str(k): pa.array([0.5, 1.0]) if k == 7 else gray for k in range(COLUMNS)}
    small_table(file, {ID: pa.array(["a", "b"]), **floats})
    with pytest.raises(DataError, match="column '7' holds double, not uint8"):
        read_table(file)


@pytest.mark.parametrize(
    ("ids", "wrong"), [(["a", "b", "a"], "'a' stands in rows 0, 2"), (["a", None, "b"], "row 1: no image_id")]
)
def test_an_id_twice_or_none_is_named(tmp_path: Path, ids: list[str | None], wrong: str) -> None:
    write_table(tmp_path / "ids.parquet", ids, np.zeros((3, 137, 236), np.uint8))
    with pytest.raises(DataError, match=wrong):
        read_table(tmp_path / "ids.parquet")


def test_a_picture_in_two_tables_is_named(data: Path) -> None:
    shutil.copy(data / "train_image_data_0.parquet", data / "train_image_data_2.parquet")
    with pytest.raises(
        DataError, match=r"train_image_data_2.parquet, row 0: 'Train_0' .* train_image_data_0.parquet already"
    ):
        bengali.read(data)


HEADS = (
    Head(name="grapheme_root", classes=("0", "1", "12"), weight=2.0),
    Head(name="vowel_diacritic", classes=("0", "3")),
)
ANSWER = TASK.answer.with_heads(HEADS)
ROWS = ["row_id,target", "Test_0_grapheme_root,12", "Test_0_vowel_diacritic,0"]
ROWS += ["Test_1_grapheme_root,1", "Test_1_vowel_diacritic,3"]


def test_the_answer_has_a_row_for_every_image_and_head_as_the_data_spell_the_class(tmp_path: Path) -> None:
    fields = {"vowel_diacritic": np.eye(2)[[0, 1]], "grapheme_root": np.eye(3)[[2, 1]]}
    ANSWER.write(Dense(ids=("Test_0", "Test_1"), fields=fields), tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_text().splitlines() == ROWS
    ANSWER.check(tmp_path / "submission.csv", ["Test_0", "Test_1"])


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        (["target,row_id", *ROWS[1:]], "line 1: the columns are swapped"),
        (["Id,Category", *ROWS[1:]], "line 1: wrong header"),
        (ROWS[:-1], "'Test_1_vowel_diacritic' is missing"),
        ([*ROWS, ROWS[1]], "line 6: the id 'Test_0_grapheme_root' stands in line 2 already"),
        ([ROWS[0], ROWS[2], ROWS[1], *ROWS[3:]], "line 2: wrong order"),
        ([*ROWS[:4], "Test_1_vowel_diacritic,12"], "line 5: unknown label '12'"),
        ([*ROWS[:4], "Test_1_vowel_diacritic,3.0"], "line 5: the label '3.0' is written as a float"),
        ([*ROWS[:4], "Test_1_dots,3"], "line 5: .*"),
        ([*ROWS[:4], "Test_1_vowel_diacritic,"], "line 5: no label"),
        ([*ROWS[:4], "Test_1_vowel_diacritic"], "line 5: 1 columns"),
        ([*ROWS[:4], ""], "line 5: an empty line"),
    ],
)
def test_a_wrong_answer_is_refused_with_its_line(tmp_path: Path, rows: list[str], wrong: str) -> None:
    file = tmp_path / "submission.csv"
    file.write_text("\n".join(rows) + "\n")
    with pytest.raises(InvalidSubmission, match=wrong):
        ANSWER.check(file, ["Test_0", "Test_1"])


def test_the_metric_knows_every_head_of_the_competition() -> None:
    fields = {name: np.eye(3)[[0, 1, 1]] for name in NAMES}
    predictions = Dense(ids=("a", "b", "c"), fields=fields)
    known = np.array([[0, 0, 0], [1, 1, 0], [1, 1, 0]])
    assert TASK.metric.fn(predictions, known) == pytest.approx((2 * 1 + 1 + 1 / 3) / 4)
