"""Run-length tables, folders of masks and pairs of pictures, in real files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images import photo
from trainables.dense_layouts import (
    high_resolution,
    mask_folder,
    named,
    picture_pairs,
    run_length_table,
    sizes,
)
from trainables.errors import DataError
from trainables.run_lengths import decode

APART = "ImageId,ClassId,EncodedPixels\n"
TOGETHER = "ImageId_ClassId,EncodedPixels\n"


@pytest.fixture
def steel(tmp_path: Path) -> Path:
    """Three pictures of 6x4 px and one of another size."""
    (tmp_path / "train_images").mkdir()
    for name, width in (("a", 6), ("b_2", 6), ("c", 6), ("d", 9)):
        photo(width, 4, seed=width).save(tmp_path / "train_images" / f"{name}.jpg")
    return tmp_path


def table(steel: Path, text: str) -> Path:
    (steel / "train.csv").write_text(text)
    return steel / "train.csv"


@pytest.mark.parametrize(
    "text",
    [
        APART + "a.jpg,2,1 3 9 2\nb_2.jpg,1,24 1\na.jpg,1,5 1\nd.jpg,2,36 1\n",
        TOGETHER + "a.jpg_1,5 1\na.jpg_2,1 3 9 2\nb_2.jpg_1,24 1\nb_2.jpg_2,\nd.jpg_1,\nd.jpg_2,36 1\n",
    ],
    ids=["apart", "together"],
)
def test_both_forms_of_the_table_say_the_same(steel: Path, text: str) -> None:
    found = run_length_table(table(steel, text), steel / "train_images", classes=("1", "2"))
    assert [sample.id for sample in found.samples] == ["a.jpg", "b_2.jpg", "c.jpg", "d.jpg"]
    assert found.runs == (("5 1", "1 3 9 2"), ("24 1", ""), ("", ""), ("", "36 1"))
    assert found.classes == ("1", "2")
    assert found.notes == ()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (APART + "a.jpg,1,5 1\ne.jpg,1,1 1\n", "line 3: there is no image 'e.jpg'"),
        (APART + "a.jpg,3,5 1\n", "line 2: unknown class '3'"),
        (APART + "a.jpg,1,5 1\na.jpg,1,9 1\n", "line 3: class '1' of 'a.jpg' has a row already"),
        (APART + "a.jpg,1,24 2\n", r"line 2: run 1 \(24 2\) ends past .* 24 \(of a.jpg, 6x4 px\)"),
        (APART + "a.jpg,1,3 4 5 1\n", "line 2: .* overlap"),
        (APART + "a.jpg,1,-1\n", "line 2: '-1' is no whole number"),
        (TOGETHER + "a.jpg,5 1\n", "line 2: 'a.jpg' holds no class"),
        (TOGETHER + "a.jpg_1,5 1,\n", "line 2: 3 fields"),
        ("image,class,runs\n", "line 1: no column 'ImageId'"),
    ],
)
def test_a_broken_row_is_named(steel: Path, text: str, fault: str) -> None:
    with pytest.raises(DataError, match=f"train.csv, {fault}") as caught:
        run_length_table(table(steel, text), steel / "train_images", classes=("1", "2"))
    assert caught.value.fix


def test_a_damaged_picture_is_left_to_the_store(steel: Path) -> None:
    (steel / "train_images" / "a.jpg").write_bytes(b"no picture")
    path = table(steel, APART + "a.jpg,1,1 2000\n")
    found = run_length_table(path, steel / "train_images", classes=("1", "2"))
    assert found.runs[0] == ("1 2000", "")


def test_test_pictures_are_named_by_their_files(steel: Path) -> None:
    listing = named(steel / "train_images")
    assert [sample.id for sample in listing.samples] == ["a.jpg", "b_2.jpg", "c.jpg", "d.jpg"]
    assert sizes(listing.samples)["d.jpg"] == (4, 9)


def mask(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Pictures of 6x4 px and masks of the classes 2 and 10; the last image has none."""
    (tmp_path / "images").mkdir()
    for name in ("a", "b", "c"):
        photo(6, 4).save(tmp_path / "images" / f"{name}.jpg")
    values = np.zeros((3, 4, 6))
    values[0, :2, :3], values[0, 3] = 10, 2
    values[1, :, 5] = 2
    for name, value in zip(("a", "b", "c"), values, strict=True):
        mask(tmp_path / "masks" / f"{name}.png", value)
    return tmp_path


def test_a_folder_of_masks_gives_its_classes(pairs: Path) -> None:
    found = mask_folder(pairs / "images", pairs / "masks")
    assert found.classes == ("2", "10")
    assert [sample.id for sample in found.samples] == ["a", "b", "c"]
    assert found.runs[2] == ("", "")
    assert decode(found.runs[0][1], (4, 6)).nonzero()[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert decode(found.runs[1][0], (4, 6))[:, 5].all()


def test_white_on_black_is_one_class(pairs: Path) -> None:
    for file in (pairs / "masks").iterdir():
        mask(file, np.eye(4, 6) * 255)
    found = mask_folder(pairs / "images", pairs / "masks")
    assert (found.classes, found.notes) == (("255",), ())
    assert decode(found.runs[0][0], (4, 6)).sum() == 4


def test_a_palette_and_an_undecided_border_are_known(pairs: Path) -> None:
    values = np.zeros((4, 6), np.uint8)
    values[1], values[2] = 2, 255
    image = Image.fromarray(values).convert("P")
    image.putpalette([k for k in range(256) for _ in range(3)])
    image.save(pairs / "masks" / "c.png")
    found = mask_folder(pairs / "images", pairs / "masks")
    assert found.classes == ("2", "10")
    assert decode(found.runs[2][0], (4, 6)).sum(1).tolist() == [0, 6, 0, 0]
    assert any("255 count as no class" in note for note in found.notes)


def test_broken_masks_are_named(pairs: Path) -> None:
    masks = pairs / "masks"
    with pytest.raises(DataError, match=r"a\.png: the mask holds the number 10, which is no class"):
        mask_folder(pairs / "images", masks, classes=("2", "3"))
    mask(masks / "b.png", np.zeros((6, 4)))
    with pytest.raises(DataError, match=r"b\.png: a mask of 4x6 px for a picture of 6x4"):
        mask_folder(pairs / "images", masks)
    mask(masks / "b.png", np.zeros((4, 6, 3)))
    with pytest.raises(DataError, match=r"b\.png: a picture of mode RGB"):
        mask_folder(pairs / "images", masks)
    (masks / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"b\.png: the mask cannot be read"):
        mask_folder(pairs / "images", masks)
    (masks / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.jpg has no mask in .*masks"):
        mask_folder(pairs / "images", masks)
    photo(6, 4).save(pairs / "images" / "a.png")
    with pytest.raises(DataError, match=r"images: a\.jpg and a\.png have one name"):
        mask_folder(pairs / "images", masks)


@pytest.fixture
def scaled(tmp_path: Path) -> Path:
    for folder, factor in (("small", 1), ("large", 3)):
        (tmp_path / folder).mkdir()
        for name, width in (("x", 5), ("y", 8)):
            photo(width * factor, 4 * factor).save(tmp_path / folder / f"{name}.png")
    return tmp_path


def test_pairs_of_pictures_tell_their_factor(scaled: Path) -> None:
    found = picture_pairs(scaled / "small", scaled / "large")
    assert found.scale == 3
    assert [sample.id for sample in found.samples] == ["x", "y"]
    assert found.targets == (scaled / "large" / "x.png", scaled / "large" / "y.png")


def test_pairs_that_do_not_fit_are_named(scaled: Path) -> None:
    large = scaled / "large"
    photo(16, 8).save(large / "y.png")
    with pytest.raises(DataError, match=r"y\.png: 2 times as large as y\.png, others are 3 times"):
        picture_pairs(scaled / "small", large)
    photo(24, 13).save(large / "y.png")
    with pytest.raises(DataError, match=r"y\.png: 24x13 px are no whole times the 8x4 of y\.png"):
        picture_pairs(scaled / "small", large)
    photo(24, 8).save(large / "y.png")
    with pytest.raises(DataError, match="no whole times"):
        picture_pairs(scaled / "small", large)
    (large / "y.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"y\.png: "):
        picture_pairs(scaled / "small", large)
    (large / "y.png").unlink()
    with pytest.raises(DataError, match=r"small/y\.png has no partner in .*large"):
        picture_pairs(scaled / "small", large)
    (scaled / "small" / "y.png").unlink()
    photo(9, 9).save(large / "z.png")
    with pytest.raises(DataError, match=r"large/z\.png has no partner in .*small"):
        picture_pairs(scaled / "small", large)


def test_pictures_too_small_to_shrink_are_left_out_with_a_note(scaled: Path) -> None:
    photo(9, 2).save(scaled / "large" / "thin.png")
    found = high_resolution(scaled / "large", scale=3)
    assert [sample.id for sample in found.samples] == ["x", "y"]
    assert any("1 pictures are smaller than 3 px" in note for note in found.notes)
