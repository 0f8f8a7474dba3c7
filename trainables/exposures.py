"""Photographs of one scene in another light and a little moved: which pictures show the same thing.

A perceptual hash tells copies of one photograph, not these. Each picture is made small, its illumination
and the stripes along its axes are taken off, and what is left is brought to one local contrast; pictures of
a scene then correlate at some small shift, and others do not.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from trainables.duplicates import Prints, groups, numbered, prints
from trainables.isolated import cpus

SIDE = 64
"""Pictures are stretched to squares of so many px."""
DETAIL, LOCAL = 2.0, 6.0
"""Standard deviations, in px, of the Gaussians that part detail from light and that measure contrast."""
SHIFT = 4
"""Largest shift, in px of the small pictures, along either axis."""
ALIKE = 0.4
"""Correlation from which two pictures show one scene. Of 565 photographs of tiles, in which each scene was
taken up to six times, 2 % of the pairs that could be a scene lie above it, and next to none near it."""
ASPECT = 0.12
"""Most by which the logarithms of height over width of a pair differ."""
LARGEST = 32
"""Pictures of one scene, at most: more of them share a texture, and are told apart again."""
NEAREST = 24
"""Each picture is compared with so many, those whose low frequencies are most like its own."""
CHUNK = 1024
"""Pairs, or pictures, at once."""


def scene_groups(files: Sequence[Path]) -> list[str]:
    """The name of each picture's scene; empty for one that is alone in it, or that cannot be read."""
    with ThreadPoolExecutor(cpus()) as pool:
        read = dict(enumerate(pool.map(_small, files)))
    small = {i: found for i, found in read.items() if found is not None}
    if not small:
        return [""] * len(files)
    pictures, aspects = (np.array(some) for some in zip(*small.values(), strict=True))
    pairs = np.array(list(small))[scene_pairs(pictures, aspects)]
    names = numbered(groups([[""] * len(files)], pairs), len(files))
    sizes = Counter(names)
    return [name if sizes[name] <= LARGEST else "" for name in names]


def _small(file: Path) -> tuple[np.ndarray, float] | None:
    """A picture uint8 [SIDE, SIDE, 3] and the logarithm of its width over its height; None if damaged."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            aspect = float(np.log(image.width / image.height))
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)), aspect
    except Exception:  # the store tells of a damaged picture
        return None


def scene_pairs(pictures: np.ndarray, aspects: np.ndarray) -> np.ndarray:
    """int64 [m, 2]: pairs of pictures uint8 [n, SIDE, SIDE, 3] that show one scene, the lower index first.

    `aspects` [n] are the logarithms of their width over their height.
    """
    pairs = _candidates(prints(pictures), aspects)
    spectra = np.fft.rfft2(np.stack([_detail(picture) for picture in pictures]))
    alike = [np.zeros(0, bool)]
    for start in range(0, len(pairs), CHUNK):
        i, k = pairs[start : start + CHUNK].T
        shifted = np.fft.irfft2(spectra[i] * spectra[k].conj(), s=(SIDE, SIDE))
        near = np.roll(shifted, (SHIFT, SHIFT), (1, 2))[:, : 2 * SHIFT + 1, : 2 * SHIFT + 1]
        alike.append(near.max((1, 2)) >= ALIKE)
    found: np.ndarray = pairs[np.concatenate(alike)]
    return found


def _candidates(found: Prints, aspects: np.ndarray) -> np.ndarray:
    """int64 [m, 2]: each picture with its nearest ones of like aspect, each pair once."""
    pairs = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(found), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(found)))
        likeness = found.waves[rows] @ found.waves.T
        likeness[np.abs(aspects[rows, None] - aspects) > ASPECT] = -np.inf
        likeness[np.arange(len(rows)), rows] = -np.inf
        nearest = np.argsort(-likeness, axis=1)[:, :NEAREST]
        possible = np.take_along_axis(likeness, nearest, 1) > -np.inf
        both = np.stack(np.broadcast_arrays(rows[:, None], nearest), 2)[possible]
        pairs.append(np.sort(both, axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _detail(picture: np.ndarray) -> np.ndarray:
    """float32 [SIDE, SIDE] of mean 0 and length 1: what is drawn on a picture, its edges faded out."""
    from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]

    gray = picture.astype(np.float32).mean(2)
    detail = gray - gaussian_filter(gray, DETAIL, mode="nearest")
    detail -= detail.mean(0) + detail.mean(1, keepdims=True)
    detail /= np.sqrt(gaussian_filter(detail**2, LOCAL, mode="nearest")) + 0.5
    fade = np.sqrt(np.hanning(SIDE + 2)[1:-1]).astype(np.float32)
    detail *= fade * fade[:, None]
    detail -= detail.mean()
    length = np.linalg.norm(detail)
    whole: np.ndarray = detail / max(float(length), 1e-6)
    return whole
