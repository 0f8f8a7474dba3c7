"""A folder of made photos, for benchmarks that need JPEGs of a known size and of a photo's weight."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE = (500, 375)
"""Width and height in px, the most frequent ones of photo collections on the web."""
CLASSES = ("circles", "boxes")


def make_photos(root: Path, num_images: int) -> Path:
    """`root/CLASS/*.jpg`: smooth colours, shapes and sensor noise, as heavy as a photo of that size."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
    for k in range(num_images):
        name = CLASSES[k % len(CLASSES)]
        make_photo(rng, name).save(root / name / f"{k:05d}.jpg", quality=90)
    return root


def make_photo(rng: np.random.Generator, name: str) -> Image.Image:
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
    image = coarse.resize(SIZE, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    shape = pen.ellipse if name == "circles" else pen.rectangle
    for _ in range(25):
        x, y, width, height = rng.integers((0, 0, 10, 10), (*SIZE, 120, 120)).tolist()
        shape((x, y, x + width, y + height), fill=tuple(rng.integers(0, 256, 3).tolist()))
    noise = rng.normal(0, 4, (SIZE[1], SIZE[0], 1))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
