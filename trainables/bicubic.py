"""Bicubic resizing, antialiased where it shrinks, as the super-resolution papers take it."""

from functools import lru_cache

import numpy as np


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture uint8 [H, W] or [H, W, C] at another size.

    Keys' cubic convolution (1981) with a = -0.5; shrinking widens the kernel by the factor, so that nothing
    aliases. As MATLAB's imresize(..., 'bicubic') does it on 8-bit pictures: rows first, rounded to 8 bits
    after each direction, the border's pixels repeated outwards (as it was in the papers' years; it mirrors
    them now).
    """
    rows = _rounded(_along(picture, height))
    return _rounded(np.swapaxes(_along(np.swapaxes(rows, 0, 1), width), 0, 1))


def shrink(picture: np.ndarray, scale: int) -> np.ndarray:
    """The low-resolution side of a picture whose sides are multiples of `scale` (see `cropped`)."""
    height, width = picture.shape[:2]
    if height % scale or width % scale:
        raise ValueError(f"{height}x{width} is no multiple of {scale}; crop the picture first.")
    return resize(picture, height // scale, width // scale)


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """A picture `scale` times as large: what a network has to beat."""
    return resize(picture, picture.shape[0] * scale, picture.shape[1] * scale)


def cropped(picture: np.ndarray, scale: int) -> np.ndarray:
    """The picture without the last rows and columns past a multiple of `scale`, as the papers crop it."""
    height, width = picture.shape[:2]
    return picture[: height - height % scale, : width - width % scale]


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(values + np.float32(0.5)), 0, 255).astype(np.uint8)


def _along(values: np.ndarray, size: int) -> np.ndarray:
    """The values resized along their first axis, float32."""
    places, weights = _taps(len(values), size)
    result = np.zeros((size, *values.shape[1:]), dtype=np.float32)
    for k in range(places.shape[1]):
        result += values[places[:, k]] * weights[:, k].reshape(-1, *[1] * (values.ndim - 1))
    return result


@lru_cache(maxsize=64)
def _taps(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of `after` values comes from, int64 [after, K], and with what weight, float32 [after, K]."""
    scale = after / before
    shrinks = min(scale, 1.0)
    reach = 4.0 / shrinks
    centre = (np.arange(after) + 0.5) / scale - 0.5
    left = np.floor(centre - reach / 2).astype(np.int64)
    places = left[:, None] + np.arange(int(np.ceil(reach)) + 2)
    weights = _cubic((centre[:, None] - places) * shrinks)
    weights /= weights.sum(1, keepdims=True)
    used = weights.any(0)
    return places[:, used].clip(0, before - 1), weights[:, used].astype(np.float32)


def _cubic(distance: np.ndarray) -> np.ndarray:
    x = np.abs(distance)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
