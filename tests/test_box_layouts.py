"""Readers of a table of boxes and of COCO's json, and what they say of broken ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.images import photo
from trainables import coco_rle
from trainables.box_layouts import box_table
from trainables.coco_layouts import coco_json
from trainables.errors import DataError, UsageError

HEADER = "image_id,width,height,bbox,source"


def table(root: Path, *lines: str) -> Path:
    """Two pictures of 24 x 16 px in `train/`, and a table of boxes."""
    (root / "train").mkdir()
    for name in ("a", "b"):
        photo().save(root / "train" / f"{name}.jpg")
    (root / "train.csv").write_text("\n".join([HEADER, *lines, ""]))
    return root / "train.csv"


def coco(root: Path, annotations: list[dict[str, Any]] | None, **changed: Any) -> Path:
    """The same two pictures and a json with the annotations."""
    table(root)
    data: dict[str, Any] = {
        "images": [
            {"id": 10, "file_name": "a.jpg", "width": 24, "height": 16},
            {"id": 20, "file_name": "b.jpg", "width": 24, "height": 16},
        ],
        "categories": [{"id": 4, "name": "cat"}, {"id": 2, "name": "person"}],
        "annotations": annotations,
    }
    data = {name: value for name, value in (data | changed).items() if value is not None}
    (root / "train.json").write_text(json.dumps(data))
    return root / "train.json"


def note(**changed: Any) -> dict[str, Any]:
    """An annotation of a 4 x 3 rectangle with some fields changed; None takes one out."""
    good = {"id": 1, "image_id": 20, "category_id": 4, "iscrowd": 0, "bbox": [2, 3, 4, 3]}
    good["segmentation"] = [[2, 3, 6, 3, 6, 6, 2, 6]]
    return {name: value for name, value in (good | changed).items() if value is not None}


def test_boxes_are_read_by_image_and_an_image_without_a_row_has_none(tmp_path: Path) -> None:
    file = table(tmp_path, 'b,24,16,"[1.5, 2, 3, 4]",x', 'b,24,16,"[10, 5.0, 14, 11]",x')
    found = box_table(file, tmp_path / "train")
    assert [sample.id for sample in found.samples] == list(found.truth.ids) == ["a", "b"]
    assert found.truth.images[0].shape == (0, 6)
    assert found.truth.images[1].tolist() == [[1.5, 2, 4.5, 6, 1, 0], [10, 5, 24, 16, 1, 0]]
    assert found.sizes == {"a": (24, 16), "b": (24, 16)}
    assert found.notes == (f"1 images of {tmp_path / 'train'} have no box.",)


def test_a_box_over_the_edge_is_cut_with_a_note(tmp_path: Path) -> None:
    file = table(tmp_path, 'a,24,16,"[0, 0, 5, 5]",x', 'a,24,16,"[20, -4, 30, 10]",x')
    found = box_table(file, tmp_path / "train")
    assert found.truth.images[0][1].tolist() == [20, 0, 24, 6, 1, 0]
    assert "1 boxes reach over their picture and were cut (first: line 3)" in found.notes[0]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('c,24,16,"[0, 0, 5, 5]",x', "line 3: there is no image 'c'"),
        ('a,24,16,"[0, 0, 0, 5]",x', r"line 3: the box \[0.0, 0.0, 0.0, 5.0\] has no area"),
        ('a,24,16,"[0, 0, 5, -5]",x', "has no area"),
        ('a,24,16,"[30, 0, 5, 5]",x', "lies outside the picture of 24 x 16 px"),
        ('a,24,16,"[0, nan, 5, 5]",x', "line 3: .* is no box"),
        ('a,24,16,"[0, 0, 1e300, 5]",x', "is no box"),
        ('a,24,16,"[0, 0, 5]",x', "is no box"),
        ("a,24,16,,x", "is no box"),
        ('a,16,24,"[0, 0, 5, 5]",x', "line 3: 16 x 24 px, but the picture has 24 x 16"),
        ('a,wide,24,"[0, 0, 5, 5]",x', "'wide' x '24' is no size"),
        ('a,24,16,"[0, 0, 5, 5]"', "line 3: 4 fields where the header has 5"),
    ],
)
def test_a_broken_row_is_refused_with_its_line(line: str, fault: str, tmp_path: Path) -> None:
    file = table(tmp_path, 'a,24,16,"[0, 0, 5, 5]",x', line)
    with pytest.raises(DataError, match=fault):
        box_table(file, tmp_path / "train")


def test_a_table_that_is_not_utf8_or_not_there_is_refused(tmp_path: Path) -> None:
    file = table(tmp_path)
    file.write_bytes(HEADER.encode() + b"\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"train\.csv is no whole CSV"):
        box_table(file, tmp_path / "train")
    with pytest.raises(UsageError, match=r"nowhere\.csv"):
        box_table(tmp_path / "nowhere.csv", tmp_path / "train")


def test_two_pictures_of_one_id_are_refused(tmp_path: Path) -> None:
    file = table(tmp_path)
    photo().save(tmp_path / "train" / "a.png")
    with pytest.raises(DataError, match="several pictures have one name"):
        box_table(file, tmp_path / "train")


def test_a_cut_picture_keeps_the_boxes_that_its_row_tells(tmp_path: Path) -> None:
    file = table(tmp_path, 'a,24,16,"[0, 0, 5, 5]",x')
    (tmp_path / "train" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    assert len(box_table(file, tmp_path / "train").truth.images[0]) == 1


def test_polygons_runs_and_boxes_become_masks(tmp_path: Path) -> None:
    mask = np.zeros((16, 24), dtype=bool)
    mask[3:6, 2:6] = True
    runs = coco_rle.runs_of(mask)
    packed = {"size": [16, 24], "counts": coco_rle.pack(runs).decode()}
    file = coco(
        tmp_path,
        [
            note(id=1),
            note(id=2, segmentation=packed, category_id=2),
            note(id=3, segmentation={"size": [16, 24], "counts": runs.tolist()}, iscrowd=1),
            note(id=4, segmentation=None),
        ],
    )
    found = coco_json(file, tmp_path / "train")
    assert [category.name for category in found.categories] == ["person", "cat"]
    assert {id: (image.id, image.size) for id, image in found.images.items()} == {
        "a": (10, (16, 24)),
        "b": (20, (16, 24)),
    }
    assert len(found.truth.images[0]) == 0
    masks = found.truth.images[1]
    assert (masks.pixels() == mask).all()
    assert masks.labels.tolist() == [1, 0, 1, 1]
    assert masks.scores.tolist() == [1, 1, 0, 1]


def test_a_test_part_without_annotations_has_no_objects(tmp_path: Path) -> None:
    found = coco_json(coco(tmp_path, None), tmp_path / "train")
    assert [len(masks) for masks in found.truth.images] == [0, 0]
    assert [sample.id for sample in found.samples] == ["a", "b"]


def test_pictures_that_the_json_does_not_name_are_left_out_with_a_note(tmp_path: Path) -> None:
    file = coco(tmp_path, [], images=[{"id": 1, "file_name": "b.jpg", "width": 24, "height": 16}])
    found = coco_json(file, tmp_path / "train")
    assert [sample.id for sample in found.samples] == ["b"]
    assert found.notes == ("1 images of the folder are not in train.json and were left out.",)


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"image_id": 30}, r"annotations\[1\]: unknown image_id 30"),
        ({"image_id": "20"}, "image_id is '20', no whole number"),
        ({"category_id": 3}, "unknown category_id 3"),
        ({"id": 1}, "the id 1 is not its own"),
        ({"segmentation": [[1, 1, 2, 2]]}, "a polygon of 4 usable numbers"),
        ({"segmentation": [[1, 1, 2, 2, 3, float("nan")]]}, "a polygon of 6 usable numbers"),
        ({"segmentation": [[30, 1, 40, 1, 40, 9]]}, "a polygon lies outside the picture"),
        ({"segmentation": [[1, 1, 1.2, 1, 1.2, 9]]}, "its mask has no pixel"),
        ({"segmentation": {"size": [24, 16], "counts": "4"}}, r"a mask of \[24, 16\] on a picture of"),
        ({"segmentation": {"size": [16, 24], "counts": [4, 5]}}, "runs of 9 pixels where 16 x 24 are 384"),
        ({"segmentation": {"size": [16, 24], "counts": [500, -116]}}, "a run of -116"),
        ({"segmentation": {"size": [16, 24], "counts": "P"}}, "cut short"),
        ({"segmentation": {"size": [16, 24]}}, "no counts"),
        ({"segmentation": None, "bbox": None}, "is no box"),
        ({"segmentation": [], "bbox": [2, 3, 0, 5]}, "has no area"),
        ({"segmentation": [], "bbox": [50, 3, 5, 5]}, "lies outside the picture"),
    ],
)
def test_a_broken_annotation_is_refused_with_its_place(
    wrong: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    file = coco(tmp_path, [note(), note(**({"id": 2} | wrong))])
    with pytest.raises(DataError, match=fault):
        coco_json(file, tmp_path / "train")


PICTURE = {"id": 10, "file_name": "a.jpg", "width": 24, "height": 16}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"images": [PICTURE, PICTURE | {"file_name": "c.jpg"}]}, r"images\[1\]: there is no 'c.jpg' in"),
        ({"images": [PICTURE, PICTURE | {"id": 11}]}, r"images\[1\]: 'a.jpg' stands there already"),
        ({"images": [PICTURE, PICTURE | {"file_name": "b.jpg"}]}, "the id 10 is not its own"),
        ({"images": [PICTURE | {"width": 16, "height": 24}]}, "16 x 24 px, but the picture has 24 x 16"),
        ({"images": [PICTURE | {"width": "24"}]}, "width is '24', no whole number"),
        ({"images": "all"}, "no list of objects under 'images'"),
        ({"categories": []}, "names no category"),
        ({"categories": [{"id": 1}]}, r"categories\[0\]: no name"),
        ({"categories": [{"id": 1, "name": "x"}] * 2}, r"categories\[1\]: the id 1 stands there already"),
        ({"annotations": {"1": 2}}, "no list of objects under 'annotations'"),
    ],
)
def test_a_json_that_contradicts_itself_is_refused(
    changed: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=fault):
        coco_json(coco(tmp_path, **({"annotations": []} | changed)), tmp_path / "train")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b'{"images": ', "is no whole JSON file"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        (b"[]", "holds no object"),
        (b"[" * 100_000, "is no whole JSON file"),
    ],
)
def test_a_file_that_is_no_json_of_coco_is_refused(data: bytes, fault: str, tmp_path: Path) -> None:
    file = coco(tmp_path, [])
    file.write_bytes(data)
    with pytest.raises(DataError, match=fault):
        coco_json(file, tmp_path / "train")


def test_a_json_that_is_not_there_is_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.json"):
        coco_json(tmp_path / "nowhere.json", tmp_path)
