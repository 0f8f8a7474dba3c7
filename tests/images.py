"""Small real image files and data folders for the tests."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def photo(width: int = 24, height: int = 16, *, seed: int = 0) -> Image.Image:
    """A smooth RGB picture whose corners all differ."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    corners[0, 0] = (255, 0, seed % 256)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def png(header: tuple[int, int, int, int], rows: bytes) -> bytes:
    """A PNG file of (width, height, bit depth, color type) and its unfiltered rows, each led by a 0."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    ihdr = struct.pack(">IIBBBBB", *header, 0, 0, 0)
    body = chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def food11_folder(
    root: Path, *, train: int = 6, valid: int = 3, test: int = 10, classes: int = 11, size: int = 16
) -> Path:
    """The competition's layout with `train` and `valid` JPEGs a class."""
    for part, count in (("training", train), ("validation", valid)):
        (root / part).mkdir(parents=True)
        for label in range(classes):
            for k in range(count):
                photo(size, size, seed=label * 20 + k).save(root / part / f"{label}_{k}.jpg")
    (root / "test").mkdir()
    for k in range(test):
        photo(size, size, seed=k).save(root / "test" / f"{k:04d}.jpg")
    return root
