"""The answers of detection and of instance segmentation, and what their checkers refuse."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.shapes import boxes_of, instances_of, random_masks
from trainables import coco_rle
from trainables.box_answers import BoxAnswer
from trainables.coco_answers import CocoAnswer, CocoImage
from trainables.errors import DataError, InvalidSubmission
from trainables.instances import Instances, Masks
from trainables.task import Head

IDS = ("image0", "image1")
BOXES = BoxAnswer(head=Head(name="box", classes=("wheat",)), sizes={"image0": (40, 30)})
SIZE = (4, 6)
OBJECTS = CocoAnswer(
    categories=(7, 9), images={"image0": CocoImage(id=3, size=SIZE), "image1": CocoImage(id=5, size=SIZE)}
)


def test_boxes_are_written_the_best_first_and_cut_at_the_edges(tmp_path: Path) -> None:
    found: Any = boxes_of([(1, 2, 4, 6, 0.25, 0), (0.125, 0, 50, 10, 1, 0), (45, 0, 50, 10, 0.5, 0)], [])
    path = tmp_path / "out" / BOXES.filename
    BOXES.write(found, path)
    assert path.read_text() == (
        "image_id,PredictionString\nimage0,1.0000 0.12 0 39.88 10 0.2500 1 2 3 4\nimage1,\n"
    )
    BOXES.check(path, IDS)


def test_many_random_boxes_pass_their_own_check(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(-5, 45, (500, 2))
    rows = np.column_stack([corner, corner + rng.exponential(5, (500, 2)), rng.random(500), np.zeros(500)])
    found: Any = boxes_of(rows)
    BOXES.write(found, tmp_path / "s.csv")
    BOXES.check(tmp_path / "s.csv", ["image0"])


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (["image0,0.5 1 2 3", "image1,"], "line 2: 4 numbers, which is no multiple of 5"),
        (["image0,0.5 1 2 3 x", "image1,"], "line 2: 'x' is no finite number"),
        (["image0,0.5 1 2 3 nan", "image1,"], "line 2: 'nan' is no finite number"),
        (["image0,0.5 1 2 1_0 4", "image1,"], "'1_0' is no finite number"),
        (["image0,", "image1,0.5 1 2 3 4 1.5 1 2 3 4"], r"line 3: box 2 \(1.5 1 2 3 4\) has a confidence"),
        (["image0,0.5 1 2 0 4", "image1,"], r"box 1 \(0.5 1 2 0 4\) has no area"),
        (["image0,0.5 -1 2 3 4", "image1,"], "begins outside the image"),
        (["image0,0.5 30 20 35 25", "image1,"], "reaches over the image's 40 x 30 px"),
        (["image0,0.5  1 2 3 4", "image1,"], "spaces that separate nothing"),
        (["image0,0.5 1 2 3 4 ", "image1,"], "spaces that separate nothing"),
        (["image0,0.5,1 2 3 4", "image1,"], "3 columns instead of 2"),
        (["", "image1,"], "an empty line"),
        (["image1,", "image0,"], "line 2: wrong order"),
        (["image0,", "image0,"], "line 3: the id 'image0' stands in line 2 already"),
        (["image0,"], "'image1' is missing"),
        (["image0,", "image1,", "image2,"], "line 4: no test image has the id 'image2'"),
    ],
)
def test_a_broken_row_of_boxes_is_refused_with_its_line(rows: list[str], fault: str, tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    path.write_text("\n".join(["image_id,PredictionString", *rows, ""]))
    with pytest.raises(InvalidSubmission, match=fault):
        BOXES.check(path, IDS)


def test_an_image_of_unknown_size_may_hold_a_box_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    path.write_text("image_id,PredictionString\nimage0,\nimage1,0.5 300 20 35 25\n")
    BOXES.check(path, IDS)


def test_a_header_of_another_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    path.write_text("id,boxes\nimage0,\nimage1,\n")
    with pytest.raises(InvalidSubmission, match="line 1: wrong header 'id,boxes'"):
        BOXES.check(path, IDS)


def objects() -> Instances:
    return instances_of(random_masks(2, 0, size=SIZE), random_masks(1, 1, size=SIZE, labels=1))


def entry(**changed: Any) -> dict[str, Any]:
    """A good entry with some fields changed."""
    good = {
        "image_id": 3,
        "category_id": 7,
        "segmentation": {"size": [4, 6], "counts": coco_rle.pack(np.array([4, 4, 16])).decode()},
        "score": 0.5,
    }
    return good | changed


def test_objects_are_written_as_results_of_coco(tmp_path: Path) -> None:
    OBJECTS.write(objects(), tmp_path / "submission.json")
    OBJECTS.check(tmp_path / "submission.json", IDS)
    written = json.loads((tmp_path / "submission.json").read_text())
    assert [e["image_id"] for e in written] == [3, 3, 5]
    assert written[0]["score"] > written[1]["score"]
    assert {e["category_id"] for e in written} <= {7, 9}
    masks = objects().images[1]
    assert written[2]["segmentation"] == {"size": [4, 6], "counts": masks.counts[0].decode()}


def test_an_answer_without_any_object_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Not one object"):
        OBJECTS.write(instances_of(random_masks(0, 0, size=SIZE)), tmp_path / "submission.json")


def test_masks_of_another_size_than_the_json_says_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'image0': masks of \(6, 4\)"):
        OBJECTS.write(instances_of(random_masks(1, 0, size=(6, 4))), tmp_path / "submission.json")
    stranger = Instances(ids=("x",), images=(random_masks(1, 0, size=SIZE),))
    with pytest.raises(DataError, match="does not number the image 'x'"):
        OBJECTS.write(stranger, tmp_path / "submission.json")


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"image_id": 4}, "entry 2: no test image has the id 4"),
        ({"image_id": "3"}, "no test image has the id '3'"),
        ({"image_id": True}, "no test image has the id True"),
        ({"category_id": 1}, "unknown category_id 1"),
        ({"score": "0.5"}, "the score '0.5' is no number"),
        ({"score": 1.5}, "the score 1.5 is no number from 0 to 1"),
        ({"segmentation": [[0, 0, 3, 0, 3, 3]]}, "a segmentation without size and counts"),
        ({"segmentation": {"size": [6, 4], "counts": "4"}}, r"\[6, 4\] is not .* \(height comes first\)"),
        ({"segmentation": {"size": [4, 6], "counts": [24]}}, "counts that are no string"),
        ({"segmentation": {"size": [4, 6], "counts": "44"}}, "runs of 8 pixels where 4 x 6 are 24"),
        ({"segmentation": {"size": [4, 6], "counts": "P"}}, "run lengths that are cut short"),
    ],
)
def test_a_broken_object_is_refused_with_its_entry(wrong: dict[str, Any], fault: str, tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    path.write_text(json.dumps([entry(), entry(**wrong)]))
    with pytest.raises(InvalidSubmission, match=fault):
        OBJECTS.check(path, IDS)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"[]", "holds no list of objects"),
        (b'{"image_id": 3}', "holds no list of objects"),
        (b"[3]", "entry 1: no object with all its fields"),
        (b'[{"image_id": 3}]', "entry 1: no object with all its fields"),
        (b'[\n{"image_id": 3', "line 2: broken JSON"),
        (b'[{"score": NaN}]', "NaN is no number of JSON"),
        (b'["\xff"]', "byte 2 is not UTF-8"),
        (b"", "is empty"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_list_of_objects_is_refused(data: bytes, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    path.write_bytes(data)
    with pytest.raises(InvalidSubmission, match=fault):
        OBJECTS.check(path, IDS)


def test_an_image_of_another_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    path.write_text(json.dumps([entry()]))
    OBJECTS.check(path, ["image0"])
    with pytest.raises(InvalidSubmission, match="no test image has the id 3"):
        OBJECTS.check(path, ["image1"])


def test_scores_come_back_in_full_from_a_written_mask(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, dtype=bool)
    mask[1, 2:4] = True
    one = Masks.of([mask], SIZE, scores=np.array([0.12345]), labels=np.array([1]))
    OBJECTS.write(instances_of(one), tmp_path / "s.json")
    (written,) = json.loads((tmp_path / "s.json").read_text())
    assert (written["score"], written["category_id"]) == (0.12345, 9)
    runs = coco_rle.unpack(written["segmentation"]["counts"].encode())
    assert (coco_rle.mask_of(runs, SIZE) == mask).all()
