"""PSNR, SSIM and bicubic resizing, against slow direct references and torch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tests.images import photo
from trainables.bicubic import cropped, enlarge, resize, shrink
from trainables.errors import DataError
from trainables.maps import Maps
from trainables.picture_metrics import luma, mean_psnr, mean_ssim, psnr, ssim


def noisy(picture: np.ndarray, spread: float, *, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, spread, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def pair(width: int = 30, height: int = 26, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    truth = noisy(np.asarray(photo(width, height, seed=seed)), 20, seed=seed)
    return noisy(truth, 10, seed=seed + 1), truth


def slow_luma(picture: np.ndarray) -> list[list[int]]:
    red, green, blue = 65.481 / 255, 128.553 / 255, 24.966 / 255
    return [[int(16 + red * r + green * g + blue * b + 0.5) for r, g, b in row] for row in picture.tolist()]


def slow_psnr(a: np.ndarray, b: np.ndarray, border: int) -> float:
    one, other = slow_luma(a), slow_luma(b)
    height, width = len(one), len(one[0])
    errors = [
        (one[y][x] - other[y][x]) ** 2
        for y in range(border, height - border)
        for x in range(border, width - border)
    ]
    return 20 * math.log10(255 / math.sqrt(sum(errors) / len(errors)))


def slow_ssim(a: np.ndarray, b: np.ndarray, border: int) -> float:
    """Each window by itself, from the paper's definitions (means and variances around them)."""
    one, other = (np.array(slow_luma(p))[border:-border, border:-border] for p in (a, b))
    grid = np.arange(11) - 5
    window = np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for y in range(one.shape[0] - 10):
        for x in range(one.shape[1] - 10):
            p, q = one[y : y + 11, x : x + 11], other[y : y + 11, x : x + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            both = (window * (p - mp) * (q - mq)).sum()
            c1, c2 = 6.5025, 58.5225
            values.append((2 * mp * mq + c1) * (2 * both + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(values))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("border", [1, 3])
def test_both_equal_their_definitions(seed: int, border: int) -> None:
    answer, truth = pair(seed=seed)
    assert psnr(answer, truth, border=border) == pytest.approx(slow_psnr(answer, truth, border))
    assert ssim(answer, truth, border=border) == pytest.approx(slow_ssim(answer, truth, border))


def test_luma_runs_from_16_to_235() -> None:
    colors = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert luma(colors).tolist() == [[16, 235, 81, 145, 41]]
    gray = np.arange(256, dtype=np.uint8)[None]
    assert (luma(gray) == luma(np.stack([gray] * 3, axis=2))).all()


def test_only_what_lies_inside_the_border_counts() -> None:
    _, truth = pair()
    spoiled = truth.copy()
    spoiled[:3] = spoiled[-3:] = spoiled[:, :3] = spoiled[:, -3:] = 0
    assert psnr(spoiled, truth) == 100
    assert ssim(spoiled, truth) == pytest.approx(1)
    spoiled[3, 3] = 255 - spoiled[3, 3]
    assert psnr(spoiled, truth) < 60


def test_the_mean_goes_over_the_pictures() -> None:
    pairs = [pair(seed=k) for k in range(3)]
    answers = Maps(ids=("a", "b", "c"), images=[a for a, _ in pairs], form="picture")
    truths = (t for _, t in pairs)
    assert mean_psnr(answers, truths) == pytest.approx(np.mean([psnr(a, t) for a, t in pairs]))
    assert mean_ssim(answers, [t for _, t in pairs]) == pytest.approx(np.mean([ssim(a, t) for a, t in pairs]))


def test_pictures_that_cannot_be_compared_are_named() -> None:
    answer, truth = pair()
    with pytest.raises(DataError, match="30x26 px answers one of 29x26 px"):
        psnr(answer, truth[:, :-1])
    with pytest.raises(DataError, match=r"16x16 px is too small to compare: 11 px must be left"):
        ssim(answer[:16, :16], truth[:16, :16])
    small = Maps(ids=("baby",), images=[answer[:6, :6]], form="picture")
    with pytest.raises(DataError, match="'baby': 6x6 px is too small"):
        mean_psnr(small, [truth[:6, :6]])


def by_torch(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    values = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].double()
    done = functional.interpolate(values, (height, width), mode="bicubic", antialias=True)
    return done[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_shrinking_agrees_with_torch_inside_the_border(scale: int) -> None:
    """At the border torch leaves out what lies outside, where MATLAB repeats it. Ours rounds twice."""
    truth = pair(60, 48)[1] // 2 + np.uint8(60)  # so that nothing is clipped between the two directions
    small = shrink(truth, scale).astype(float)
    theirs = np.clip(by_torch(truth, 48 // scale, 60 // scale), 0, 255)
    inside = np.abs(small - theirs)[2:-2, 2:-2]
    assert inside.max() <= 1.2
    assert inside.mean() < 0.35


def slow_shrink(line: list[float], scale: int) -> list[float]:
    """One line by the definition: Keys' kernel stretched by the scale, the ends repeated outwards."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    longer = line[:1] * len(line) + line + line[-1:] * len(line)
    result = []
    for k in range(len(line) // scale):
        centre = scale * (k + 0.5) - 0.5
        weights = [kernel((i - len(line) - centre) / scale) for i in range(len(longer))]
        result.append(sum(w * v for w, v in zip(weights, longer, strict=True)) / sum(weights))
    return result


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=9, max_size=15), st.sampled_from([2, 3]))
def test_shrinking_a_line_is_its_definition_to_the_ends(line: list[int], scale: int) -> None:
    line = line[: len(line) // (2 * scale) * 2 * scale]
    picture = np.repeat(np.array(line, np.uint8)[None], scale, axis=0)
    slow = np.clip(slow_shrink([float(v) for v in line], scale), 0, 255)
    assert np.abs(shrink(picture, scale)[0] - slow).max() <= 0.501
    assert (shrink(picture.T, scale) == shrink(picture, scale).T).all()


def test_rows_are_rounded_before_columns() -> None:
    _, truth = pair(30, 24)
    rows = [slow_shrink([float(v) for v in column], 3) for column in truth[:, :, 0].T]
    half = np.clip(np.floor(np.array(rows).T + 0.5), 0, 255)
    both = np.array([slow_shrink([float(v) for v in row], 3) for row in half])
    assert (shrink(truth, 3)[:, :, 0] == np.clip(np.floor(both + 0.5), 0, 255)).mean() > 0.98


def test_a_picture_keeps_its_light_and_its_size() -> None:
    flat = np.full((9, 12, 3), 137, np.uint8)
    assert (shrink(flat, 3) == 137).all()
    assert enlarge(flat, 3).shape == (27, 36, 3)
    assert (enlarge(flat, 3) == 137).all()
    _, truth = pair()
    assert (resize(truth, *truth.shape[:2]) == truth).all()
    assert (enlarge(truth[:1, :1], 3) == truth[0, 0]).all()


def test_a_picture_is_cropped_before_it_is_shrunk() -> None:
    _, truth = pair(31, 26)
    assert cropped(truth, 3).shape == (24, 30, 3)
    assert shrink(cropped(truth, 3), 3).shape == (8, 10, 3)
    with pytest.raises(ValueError, match="26x31 is no multiple of 3"):
        shrink(truth, 3)
