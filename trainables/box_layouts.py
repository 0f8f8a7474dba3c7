"""A reader of images with boxes in a table, and what readers of boxes check."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainables.boxes import Boxes, clip
from trainables.errors import DataError
from trainables.layouts import rows, unlabelled
from trainables.task import Sample

FAR = 1e9
"""Pixels from which a number is no place in a picture; NaN is none either."""


@dataclass(frozen=True, kw_only=True)
class Boxed:
    """Images and the boxes on them, in the same order; `sizes` are width and height in px by id."""

    samples: tuple[Sample, ...]
    truth: Boxes
    sizes: Mapping[str, tuple[int, int]]
    notes: tuple[str, ...] = ()


def picture_sizes(samples: Iterable[Sample]) -> dict[str, tuple[int, int]]:
    """Width and height in px by id, upright, from the files' headers; an unreadable file has none."""
    from trainables.decode import DecodeError, probe

    sizes = {}
    for sample in samples:
        try:
            found = probe(sample.path)
        except DecodeError:
            continue
        sizes[sample.id] = (found.width, found.height)
    return sizes


def box_table(table: Path, folder: Path) -> Boxed:
    """`image_id,width,height,bbox,...`: a row a box, `bbox` = "[x, y, width, height]" in px.

    An image of the folder without a row has no box. A box over the edge is cut there, with a note where it
    was by a pixel or more. Raises DataError naming the line of an unknown image, a size that is not the
    picture's, a bbox that is no four finite numbers, has no area or lies outside, and for two pictures
    of one id.
    """
    listing = unlabelled(folder)
    sizes = picture_sizes(listing.samples)
    found: dict[str, list[np.ndarray]] = {sample.id: [] for sample in listing.samples}
    if len(found) < len(listing.samples):
        raise DataError(
            f"{folder}: several pictures have one name but for the suffix.", fix="Leave one picture an id."
        )
    cut: list[int] = []
    for line, (id, width, height, text) in rows(table, ("image_id", "width", "height", "bbox")):
        where = f"{table}, line {line}"
        if id not in found:
            fix = "Correct the id, or fetch the picture again."
            raise DataError(f"{where}: there is no image {id!r} in {folder}.", fix=fix)
        size = stated_size(where, (width, height), sizes.get(id))
        sizes[id] = size
        row, whole = box_row(where, _four(where, text), size)
        found[id].append(row)
        if not whole:
            cut.append(line)
    truth = Boxes(ids=tuple(found), images=tuple(_array(boxes) for boxes in found.values()))
    notes = [*listing.notes]
    if cut:
        notes.append(
            f"{table}: {len(cut)} boxes reach over their picture and were cut (first: line {cut[0]})."
        )
    empty = sum(not boxes for boxes in found.values())
    if empty:
        notes.append(f"{empty} images of {folder} have no box.")
    return Boxed(samples=listing.samples, truth=truth, sizes=sizes, notes=tuple(notes))


def _array(boxes: Sequence[np.ndarray]) -> np.ndarray:
    return np.array(boxes, dtype=np.float32).reshape(-1, 6)


def stated_size(where: str, stated: tuple[str, str], real: tuple[int, int] | None) -> tuple[int, int]:
    """The picture's size, which the table must state. Raises DataError."""
    try:
        width, height = (int(float(text)) for text in stated)
    except (ValueError, OverflowError):
        raise DataError(
            f"{where}: {stated[0]!r} x {stated[1]!r} is no size in pixels.", fix="Correct the line."
        ) from None
    if real is not None and (width, height) != real:
        raise DataError(
            f"{where}: {width} x {height} px, but the picture has {real[0]} x {real[1]}.",
            fix="Give the size of the picture, or fetch it again.",
        )
    return width, height


def _four(where: str, text: str) -> list[float]:
    """The numbers in "[x, y, width, height]". Raises DataError."""
    try:
        numbers = [float(part) for part in text.strip().removeprefix("[").removesuffix("]").split(",")]
    except ValueError:
        numbers = []
    return four_finite(where, numbers, text)


def four_finite(where: str, numbers: Any, shown: object) -> list[float]:
    """Four finite numbers. Raises DataError."""
    if isinstance(numbers, list) and len(numbers) == 4 and all(map(is_finite, numbers)):
        return [float(number) for number in numbers]
    raise DataError(
        f"{where}: {shown!r} is no box.", fix="A box is [x, y, width, height], four finite numbers."
    )


def is_finite(value: object) -> bool:
    """Whether a value read from a json is a number that can be a place in a picture."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < FAR


def box_row(where: str, box: Sequence[float], size: tuple[int, int]) -> tuple[np.ndarray, bool]:
    """A box as a row of `Boxes` inside the picture, and whether it lay inside as it was."""
    x, y, width, height = box
    if width <= 0 or height <= 0:
        raise DataError(
            f"{where}: the box {list(box)} has no area.", fix="Take it out, or give it a width and a height."
        )
    row = np.array([[x, y, x + width, y + height, 1, 0]])
    inside = clip(row, *size)
    if (inside[0, 2:4] <= inside[0, :2]).any():
        raise DataError(
            f"{where}: the box {list(box)} lies outside the picture of {size[0]} x {size[1]} px.",
            fix="Take it out, or correct it.",
        )
    whole = bool(np.abs(inside - row).max() < 1)  # drawn by hand, boxes end on the edge and a little over
    return inside[0].astype(np.float32), whole
