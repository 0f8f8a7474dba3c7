"""How near a picture is to the true one: PSNR and SSIM on luma, as the super-resolution papers take them."""

from collections.abc import Callable, Iterable

import numpy as np

from trainables.errors import DataError
from trainables.maps import Maps

BORDER = 3
"""Pixels cut off each side before comparing: the scale, by the papers' habit."""
HIGHEST = 100.0
"""PSNR of equal pictures in dB, in place of infinity, so that means stay finite."""
WINDOW = 11
SIGMA = 1.5


def luma(picture: np.ndarray) -> np.ndarray:
    """Y of ITU-R BT.601, whole numbers 16..235 as float64 [H, W]; of uint8 [H, W, 3], or gray [H, W].

    Rounded as MATLAB's rgb2ycbcr rounds it: the papers' figures are of such luma.
    """
    weights = np.array([65.481, 128.553, 24.966]) / 255
    light = picture * weights.sum() if picture.ndim == 2 else picture @ weights
    y: np.ndarray = np.floor(16.5 + light)
    return y


def psnr(picture: np.ndarray, truth: np.ndarray, *, border: int = BORDER) -> float:
    """Peak signal-to-noise ratio in dB on luma, with the border cut off; pictures uint8 [H, W, 3].

    Raises DataError when the sizes differ or nothing is left inside the border.
    """
    a, b = _inside(picture, truth, border, least=1)
    error = np.square(a - b).mean()
    return min(HIGHEST, float(10 * np.log10(255**2 / error))) if error > 0 else HIGHEST


def ssim(picture: np.ndarray, truth: np.ndarray, *, border: int = BORDER) -> float:
    """Mean structural similarity on luma (Wang et al., 2004), with the border cut off.

    Gaussian window of 11x11, sigma 1.5, wholly inside the picture; K1 0.01, K2 0.03, range 255. Raises
    DataError when the sizes differ or the window does not fit.
    """
    a, b = _inside(picture, truth, border, least=WINDOW)
    mean_a, mean_b = _smoothed(a), _smoothed(b)
    var_a = _smoothed(a * a) - mean_a * mean_a
    var_b = _smoothed(b * b) - mean_b * mean_b
    covariance = _smoothed(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    same = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((same / ((mean_a * mean_a + mean_b * mean_b + c1) * (var_a + var_b + c2))).mean())


def mean_psnr(predictions: Maps, truths: Iterable[np.ndarray]) -> float:
    """Mean over the pictures of `psnr`; `truths` are the true pictures in their order, and may be lazy."""
    return _mean(psnr, predictions, truths)


def mean_ssim(predictions: Maps, truths: Iterable[np.ndarray]) -> float:
    """Mean over the pictures of `ssim`; `truths` as for `mean_psnr`."""
    return _mean(ssim, predictions, truths)


def _mean(
    measure: Callable[[np.ndarray, np.ndarray], float], predictions: Maps, truths: Iterable[np.ndarray]
) -> float:
    values = []
    for id, picture, truth in zip(predictions.ids, predictions, truths, strict=True):
        try:
            values.append(measure(picture, truth))
        except DataError as error:
            raise DataError(f"{id!r}: {error.what}", fix=error.fix) from error
    return float(np.mean(values))


def _inside(
    picture: np.ndarray, truth: np.ndarray, border: int, *, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Both lumas without their border."""
    if picture.shape[:2] != truth.shape[:2]:
        raise DataError(
            f"A picture of {_size(picture)} answers one of {_size(truth)}.",
            fix="Compare pictures of one size; crop the true one to a multiple of the scale.",
        )
    height, width = truth.shape[:2]
    if min(height, width) - 2 * border < least:
        raise DataError(
            f"{_size(truth)} is too small to compare: {least} px must be left inside a border of {border}.",
            fix="Leave such pictures out of the parts that are scored.",
        )
    cut = np.s_[border : height - border, border : width - border]
    return luma(picture[cut]), luma(truth[cut])


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]} px"


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Weighted means of every window that lies wholly inside."""
    from scipy.ndimage import correlate1d  # type: ignore[import-untyped]

    reach = WINDOW // 2
    kernel = np.exp(-np.square(np.arange(-reach, reach + 1) / SIGMA) / 2)
    kernel /= kernel.sum()
    means: np.ndarray = correlate1d(correlate1d(values, kernel, axis=0), kernel, axis=1)
    return means[reach:-reach, reach:-reach]
