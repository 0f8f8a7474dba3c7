"""Boxes around objects, of one class or of several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainables.boxes import COLUMNS, Boxes
from trainables.errors import DataError
from trainables.task import Head, Sample

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig
    from trainables.store import Part

FLOOR = 0.02
"""Boxes of a lower score are not kept."""
CAP = 300
"""Boxes kept of an image, the best."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One head, whose classes are those of the objects.

    A sample's truth is a tuple of (x1, y1, x2, y2, label), in px of its picture. The model is called with
    views [B, 3, S, S] and targets [B, M, 5] in training, and answers losses [B] or [1]; at prediction with
    views alone, and answers [B, K, 6]: boxes in px of the view, score and label, the score 0 where there
    is none.
    """

    answers: ClassVar[str] = "boxes"
    heads: tuple[Head, ...]

    def with_heads(self, heads: tuple[Head, ...]) -> "Detection":
        return Detection(heads=heads)

    def num_outputs(self, config: "TrialConfig") -> int:
        return self.heads[0].num_classes

    def truth(self, samples: Sequence[Sample], sizes: Sequence[tuple[int, int]]) -> Boxes:
        """Raises DataError for a box of no area, outside its picture, or of an unknown class."""
        images = [self._boxes(sample, size) for sample, size in zip(samples, sizes, strict=True)]
        return Boxes(ids=tuple(sample.id for sample in samples), images=tuple(images))

    def _boxes(self, sample: Sample, size: tuple[int, int]) -> np.ndarray:
        given = np.array(sample.truth or (), dtype=np.float32).reshape(-1, 5)
        height, width = size
        whole = np.isfinite(given).all(1) & (given[:, 2:4] > given[:, :2]).all(1)
        inside = (given[:, :2] >= 0).all(1) & (given[:, 2:4] <= (width + 0.01, height + 0.01)).all(1)
        known = (given[:, 4] >= 0) & (given[:, 4] < self.heads[0].num_classes)
        fine = whole & inside & known
        if not fine.all():
            odd = given[fine.argmin()].tolist()
            raise DataError(
                f"{sample.path}: {odd} is no box (x1, y1, x2, y2, label) of a picture of"
                f" {width} x {height} px with {self.heads[0].num_classes} classes.",
                fix="Correct the box, or take it out.",
            )
        return np.insert(given, 4, 1.0, axis=1)

    def order(self, part: "Part", config: "TrialConfig", rng: np.random.Generator) -> np.ndarray:
        shuffled: np.ndarray = rng.permutation(np.repeat(part.places, config.patches))
        return shuffled

    def batch(
        self, part: "Part", rows: Sequence[int], config: "TrialConfig", rng: np.random.Generator
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Random windows of the pictures, and their objects as float32 [B, M, 5], filled up with label -1."""
        import torch

        from trainables import detecting
        from trainables.recolored import coloured

        views, targets = [], []
        for row in rows:
            picture, known = part.images[row], part.targets.images[row]
            view = detecting.window(picture.shape[:2], known, config, rng)
            views.append(view.pixels(picture))
            targets.append(detecting.seen(known, view)[0][:, [0, 1, 2, 3, 5]])
        return coloured(torch.stack(views), config.color, rng), detecting.padded(targets, 5)

    def losses(
        self,
        forward: "Callable[..., torch.Tensor]",
        views: "torch.Tensor",
        targets: "torch.Tensor",
        config: "TrialConfig",
    ) -> "torch.Tensor":
        return forward(views, targets).float()

    def answer(
        self,
        forward: Callable[..., Any],
        pictures: Sequence[np.ndarray],
        config: "TrialConfig",
        device: "torch.device",
    ) -> list[np.ndarray]:
        """Rows float32 [M, 6] of each picture, in its px: box, score, label, the best first."""
        from trainables import detecting

        answers: list[np.ndarray] = [np.zeros((0, COLUMNS), dtype=np.float32)] * len(pictures)
        for some in detecting.batches(pictures, config):
            found: list[list[np.ndarray]] = [[] for _ in some]
            for turn in detecting.turns(config):
                boxes = forward(detecting.views_of(some, turn).to(device))
                for rows, one, answer in zip(found, some, boxes.float(), strict=True):
                    rows.append(detecting.rows_of(answer, one, turn, FLOOR)[0])
            for rows, one in zip(found, some, strict=True):
                pool = np.concatenate(rows)
                objects = detecting.merged(pool, detecting.shares(pool, len(rows)), len(rows))
                answers[one.row] = objects[detecting.best(objects, CAP)].astype(np.float32)
        return answers

    def gather(self, ids: Sequence[str], answers: Sequence[np.ndarray]) -> Boxes:
        return Boxes(ids=tuple(ids), images=tuple(answers))
