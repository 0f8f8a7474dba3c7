"""Pictures of their own sizes in one file, and what is to be found in them beside it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainables import gathered
from trainables.decode import Size
from trainables.raw_rows import starts_of
from trainables.sources import Source, digest_of
from trainables.task import PARTS, DenseKind, Sample

GRAY_SHAPE = (32, 32)
"""Of what stands in for a test picture whose size is not known."""
THUMBNAIL = 64
"""Side in px at which pictures are compared."""


def shape_of(source: Source, side: int) -> Size:
    """Height and width that a source's picture has in the store; `side` 0 leaves it its own."""
    if side:
        return side, side
    if source.header is None:
        return GRAY_SHAPE
    return source.header.height // source.sample.shrink, source.header.width // source.sample.shrink


def row_sizes(sources: Sequence[Source], side: int) -> list[int]:
    """Bytes of each source's picture."""
    return [bytes_of([shape_of(source, side)]) for source in sources]


def bytes_of(shapes: Sequence[Size]) -> int:
    """Of pictures uint8 [height, width, 3] of these shapes, one after another."""
    return sum(height * width * 3 for height, width in shapes)


def mapped(file: Path, shapes: Sequence[Size], side: int) -> Any:
    """The pictures of a file, not read: uint8 [n, side, side, 3], or where `side` is 0 a tuple of them."""
    if not shapes:
        return np.zeros((0, side, side, 3), np.uint8) if side else ()
    flat = np.memmap(file, np.uint8, "r").view(np.ndarray)
    if side:
        return flat.reshape(len(shapes), side, side, 3)
    sizes = [bytes_of([shape]) for shape in shapes]
    places = zip(starts_of(sizes), sizes, shapes, strict=True)
    return tuple(flat[start : start + size].reshape(*shape, 3) for start, size, shape in places)


def thumbnails(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Each picture stretched to uint8 [n, THUMBNAIL, THUMBNAIL, 3]."""
    from PIL import Image

    small = np.zeros((len(pictures), THUMBNAIL, THUMBNAIL, 3), np.uint8)
    for place, picture in zip(small, pictures, strict=True):
        place[:] = np.asarray(Image.fromarray(picture).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    return small


def truth_of(sample: Sample) -> tuple[Any, ...]:
    """What of a sample's truth decides on the store's content; nothing where there is none."""
    if sample.truth is None:
        return ()
    told = digest_of(sample.truth)[0] if isinstance(sample.truth, Path) else json.dumps(sample.truth)
    return told, sample.shrink


def write_truth(kind: DenseKind, sources: Sequence[Source], folder: Path) -> None:
    """`PART.truth` of each part whose truth is known. Raises what the kind's `truth` raises."""
    for name in PARTS:
        rows = [source for source in sources if source.part == name and source.has_row]
        if rows and all(source.sample.truth is not None for source in rows):
            samples = [source.sample for source in rows]
            kind.truth(samples, [shape_of(source, 0) for source in rows]).save(folder / f"{name}.truth")


def read_truth(folder: Path, part: str) -> Any:
    """The part's truth, read lazily where its type allows that; None where it is not known."""
    path = folder / f"{part}.truth"
    return gathered.load(path) if path.exists() else None
