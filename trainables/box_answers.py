"""The answer of detection: a CSV with a row an image, its boxes in one field."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trainables.answer_files import invalid
from trainables.boxes import clip, in_score_order
from trainables.submissions import CsvAnswer

NUMBERS = 5
"""confidence xmin ymin width height."""
SLACK = 0.01
"""Pixels by which a box may leave the image for the sake of rounding."""


@dataclass(frozen=True, kw_only=True)
class BoxAnswer(CsvAnswer):
    """Rows `IMAGE,BOXES`: each box `confidence xmin ymin width height`, all apart by spaces; none is empty.

    `sizes` are the images' (width, height) in px by id: boxes are cut at the edges of those that stand
    there when written, and refused outside of them by the checker.
    """

    columns: tuple[str, str] = ("image_id", "PredictionString")
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def _labelled(self, predictions: Any) -> Iterator[tuple[str, str]]:
        """Each image's id and boxes, from `Boxes`."""
        for id, rows in zip(predictions.ids, predictions.images, strict=True):
            yield id, boxes_text(rows, self.sizes.get(id))

    def _check_row(self, path: Path, line: int, row: Sequence[str]) -> None:
        if not row:
            raise invalid(path, line, "an empty line", "Take it out.")
        if len(row) != len(self.columns):
            count = f"{len(row)} columns instead of {len(self.columns)}"
            raise invalid(path, line, count, f"Each row is {','.join(self.columns)}.")
        fields = row[1].split(" ") if row[1] else []
        if "" in fields:
            raise invalid(path, line, "spaces that separate nothing", "Put one space between two numbers.")
        if len(fields) % NUMBERS:
            what = f"{len(fields)} numbers, which is no multiple of {NUMBERS}"
            raise invalid(path, line, what, "A box is 'confidence xmin ymin width height'.")
        numbers = [_number(path, line, text) for text in fields]
        for k in range(0, len(numbers), NUMBERS):
            fault = _fault(numbers[k : k + NUMBERS], self.sizes.get(row[0]))
            if fault:
                shown = " ".join(fields[k : k + NUMBERS])
                what = f"box {k // NUMBERS + 1} ({shown}) {fault[0]}"
                raise invalid(path, line, what, fault[1])


def boxes_text(rows: np.ndarray, size: tuple[int, int] | None = None) -> str:
    """Boxes [M, 6] as the answer spells them, the best first, to 1/100 px; those cut to no area left out."""
    rows = rows[in_score_order(rows)] if size is None else clip(rows[in_score_order(rows)], *size)
    edges = np.round(rows[:, :4].astype(np.float64), 2)
    sides = edges[:, 2:] - edges[:, :2]
    fields = []
    for score, corner, side in zip(rows[:, 4], edges, sides, strict=True):
        if side.min() >= SLACK / 2:
            fields += [f"{min(max(score, 0.0), 1.0):.4f}", *(_short(value) for value in (*corner[:2], *side))]
    return " ".join(fields)


def _short(value: float) -> str:
    """Two decimals at most, without zeros at the end."""
    return f"{value + 0.0:.2f}".rstrip("0").rstrip(".")


def _number(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise invalid(path, line, f"{text!r} is no finite number", "A box is five plain numbers.")
    return value


def _fault(box: Sequence[float], size: tuple[int, int] | None) -> tuple[str, str] | None:
    """What is wrong with a box of an image of that size, and how to mend it."""
    score, x, y, width, height = box
    if not 0 <= score <= 1:
        return "has a confidence outside 0 to 1", "The confidence comes first, then the corner."
    if width <= 0 or height <= 0:
        return "has no area", "Write the width and height after the corner, both positive."
    if x < -SLACK or y < -SLACK:
        return "begins outside the image", "Corners count from 0."
    if size is not None and (x + width > size[0] + SLACK or y + height > size[1] + SLACK):
        return (
            f"reaches over the image's {size[0]} x {size[1]} px",
            "The last two numbers are width and height, not the far corner.",
        )
    return None
