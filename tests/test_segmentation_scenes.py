"""Photographs of one scene in another light are found; other scenes with the same light are not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]

from trainables.exposures import scene_groups


def scene(seed: int, height: int = 120, width: int = 90) -> np.ndarray:
    """float64 [height + 20, width + 20]: what is drawn on a tile, around 0."""
    noise = np.random.default_rng(seed).normal(size=(height + 20, width + 20))
    drawn: np.ndarray = gaussian_filter(noise, 2.5)
    drawn /= drawn.std()
    return drawn


def photograph(drawn: np.ndarray, *, moved: int, light: float, contrast: float) -> Image.Image:
    """A part of a scene, moved by some px, under a light that falls off to one side, with a stripe."""
    part = drawn[moved : moved + 120, moved : moved + 90]
    shade = light * np.linspace(1, 1.6, 120)[:, None] * np.where(np.arange(90) == 40, 1.3, 1.0)
    return Image.fromarray(np.clip(shade + contrast * part, 0, 255).astype(np.uint8))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Scenes that were taken 4, 3, 2 times and once; then a blank picture and a broken file."""
    found = []
    for k, times in enumerate((4, 3, 2, 1)):
        for shot in range(times):
            file = tmp_path / f"{k}{shot}.png"
            photograph(scene(k), moved=2 * shot, light=50 + 30 * shot, contrast=6 + 4 * shot).save(file)
            found.append(file)
    Image.new("L", (90, 120), 128).save(tmp_path / "blank.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return [*found, tmp_path / "blank.png", tmp_path / "broken.png"]


def test_shots_of_a_scene_are_one_group(files: list[Path]) -> None:
    names = scene_groups(files)
    assert names == ["1"] * 4 + ["2"] * 3 + ["3"] * 2 + ["", "", ""]


def test_the_order_of_the_files_does_not_matter(files: list[Path]) -> None:
    names, turned = scene_groups(files), scene_groups(files[::-1])[::-1]
    for one in range(len(files)):
        for other in range(one):
            together = names[one] != "" and names[one] == names[other]
            assert (turned[one] != "" and turned[one] == turned[other]) == together


@pytest.mark.parametrize("count", [0, 1])
def test_few_pictures_have_no_groups(files: list[Path], count: int) -> None:
    assert scene_groups(files[:count]) == [""] * count
    assert scene_groups(files[-1:]) == [""]
