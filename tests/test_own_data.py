"""Data of one's own whose answers lie in the picture: recognised by their layout, and searched."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.cli import task_of
from trainables.errors import DataError, UsageError
from trainables.picture_answers import PictureAnswer
from trainables.task import load_task


def picture(path: Path, size: tuple[int, int], seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """24 pictures with a bright disc, and masks of it."""
    root = tmp_path / "discs"
    y, x = np.mgrid[:48, :56]
    for number in range(24):
        rng = np.random.default_rng(number)
        disc = (y - rng.integers(12, 36)) ** 2 + (x - rng.integers(12, 44)) ** 2 < 80
        pixels = rng.integers(0, 90, (48, 56, 3), dtype=np.uint8)
        pixels[disc] = 230
        for folder, values in (("images", pixels), ("masks", (3 * disc).astype(np.uint8))):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / folder / f"{number:02d}.png")
    for number in range(3):
        picture(root / "test" / f"t{number}.png", (40, 50 + number), seed=number)
    return root


def pairs(root: Path, *, scale: int, odd: int = 0) -> Path:
    for number in range(6):
        picture(root / "low" / f"{number}.png", (20, 24), seed=number)
        picture(root / "high" / f"{number}.png", (20 * scale + odd, 24 * scale), seed=number)
    return root


def objects(root: Path) -> Path:
    images = []
    for number in range(4):
        picture(root / "images" / f"{number}.jpg", (30, 40), seed=number)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 40, "height": 30})
    square = {"segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]], "bbox": [5, 5, 10, 10], "iscrowd": 0}
    content = {
        "images": images,
        "categories": [{"id": 7, "name": "cup"}],
        "annotations": [{"id": 1, "image_id": 2, "category_id": 7, "area": 100, **square}],
    }
    (root / "annotations.json").write_text(json.dumps(content))
    picture(root / "test" / "x.jpg", (33, 44))
    return root


def test_the_layout_tells_the_task(masks: Path, tmp_path: Path) -> None:
    assert task_of(masks) == "own_masks"
    assert task_of(masks.parent) == "own_masks"
    assert task_of(pairs(tmp_path / "pairs", scale=2)) == "own_pairs"
    assert task_of(objects(tmp_path / "objects")) == "own_objects"
    assert task_of(tmp_path / "nowhere") == "folder"


def test_numbers_in_the_masks_are_the_classes(masks: Path) -> None:
    task = load_task("own_masks")
    splits = task.read(masks)
    assert splits.heads[0].classes == ("3",)
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [24, 0, 3]
    assert all(sample.truth[0] for sample in splits.train)
    assert task.found_in(splits).kind.heads == splits.heads


def test_the_pairs_tell_how_many_times_larger(tmp_path: Path) -> None:
    task = load_task("own_pairs")
    splits = task.read(pairs(tmp_path, scale=2))
    assert "Pictures are made 2 times as large." in splits.notes
    found = task.found_in(splits)
    assert found.kind.scale == 2
    assert isinstance(found.answer, PictureAnswer)
    assert found.answer.scale == 2
    assert splits.train[0].truth == tmp_path / "high" / "0.png"


def test_a_pair_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0\.png: 48x41 px are no whole times the 24x20"):
        load_task("own_pairs").read(pairs(tmp_path, scale=2, odd=1))


def test_objects_of_a_json_are_read_and_test_pictures_numbered(tmp_path: Path) -> None:
    splits = load_task("own_objects").read(objects(tmp_path))
    assert splits.heads[0].classes == ("cup",)
    assert [len(sample.truth) for sample in splits.train] == [0, 0, 1, 0]
    assert splits.answer is not None
    answer = dataclasses.asdict(splits.answer)  # type: ignore[call-overload]
    assert answer["images"] == {"x": {"id": 1, "size": (33, 44)}}


@pytest.mark.parametrize("name", ["own_masks", "own_pairs", "own_objects"])
def test_without_the_folders_it_says_how_they_should_lie(name: str, tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1.png", (20, 20))
    with pytest.raises(UsageError) as refused:
        load_task(name).read(tmp_path)
    assert str(tmp_path) in refused.value.fix + refused.value.what


def test_masks_are_searched_and_answered_without_a_task(masks: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "orchestrator.search",
        "--data",
        str(masks),
        "--out",
        str(tmp_path / "runs"),
    ]
    short = ["--trials", "1", "--max-epochs", "1", "--set", "model=fpn", "--set", "encoder=test_resnet"]
    done = subprocess.run(
        [*command, *short, "--json"], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "own_masks" / "latest"
    lines = (folder / "submission.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["ImageId_ClassId", *(f"t{k}.png_3" for k in range(3))]
    assert json.loads((folder / "ensemble.json").read_text())["table"]
    assert (folder / "trials" / "0000" / "test.npz").exists()
