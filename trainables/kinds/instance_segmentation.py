"""The mask of each object in a picture, of one class or of several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainables import coco_rle
from trainables.errors import DataError
from trainables.instances import Instances, Masks
from trainables.task import Head, Sample

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig
    from trainables.store import Part

FLOOR = 0.05
"""Objects of a lower score are not kept."""
CAP = 100
"""Objects kept of an image, the best: COCO counts no more."""


@dataclass(frozen=True, kw_only=True)
class InstanceSegmentation:
    """One head, whose classes are those of the objects.

    A sample's truth is a tuple of (counts, label, crowd): COCO's string of run lengths, and 1 for a region
    of many objects, which is not learned. The model is called with views [B, 3, S, S] and targets
    [B, M, 5 + FRAME * FRAME] in training, and answers losses [B] or [1]; at prediction with views alone,
    and answers boxes [B, K, 6] as detection's, and the probabilities [B, K, s, s] in each box.
    """

    answers: ClassVar[str] = "instances"
    heads: tuple[Head, ...]

    def with_heads(self, heads: tuple[Head, ...]) -> "InstanceSegmentation":
        return InstanceSegmentation(heads=heads)

    def num_outputs(self, config: "TrialConfig") -> int:
        return self.heads[0].num_classes

    def truth(self, samples: Sequence[Sample], sizes: Sequence[tuple[int, int]]) -> Instances:
        """Raises DataError for a mask that does not fill its picture or is empty, and an unknown class."""
        images = [self._masks(sample, size) for sample, size in zip(samples, sizes, strict=True)]
        return Instances(ids=tuple(sample.id for sample in samples), images=tuple(images))

    def _masks(self, sample: Sample, size: tuple[int, int]) -> Masks:
        given = sample.truth or ()
        masks = Masks(
            size=size,
            counts=tuple(counts.encode() for counts, _, _ in given),
            scores=np.array([1.0 - crowd for _, _, crowd in given], dtype=np.float32),
            labels=np.array([label for _, label, _ in given], dtype=np.int64),
        )
        try:
            empty = [not coco_rle.area(runs) for runs in masks.runs]
        except DataError as error:
            fix = "Correct the mask, or fetch the picture again."
            raise DataError(f"{sample.path}: a mask has {error.what}.", fix=fix) from error
        unknown = (masks.labels < 0) | (masks.labels >= self.heads[0].num_classes)
        if any(empty) or unknown.any():
            what = "a mask without a pixel" if any(empty) else f"no class {masks.labels[unknown.argmax()]}"
            raise DataError(f"{sample.path}: {what}.", fix="Correct the mask, or take it out.")
        return masks

    def order(self, part: "Part", config: "TrialConfig", rng: np.random.Generator) -> np.ndarray:
        shuffled: np.ndarray = rng.permutation(np.repeat(part.places, config.patches))
        return shuffled

    def batch(
        self, part: "Part", rows: Sequence[int], config: "TrialConfig", rng: np.random.Generator
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Random windows of the pictures; an object is its box in the view, its label and its frame."""
        import torch

        from trainables import detecting, masking
        from trainables.recolored import coloured

        views, targets = [], []
        for row in rows:
            picture, known = part.images[row], part.targets.images[row]
            known = known.pick(np.flatnonzero(known.scores > 0))
            boxes = known.boxes()
            view = detecting.window(picture.shape[:2], boxes, config, rng)
            inside, left = detecting.seen(boxes, view)
            drawn = masking.frames(known.pick(left).pixels(), boxes[left], view)
            views.append(view.pixels(picture))
            targets.append(np.column_stack([inside[:, [0, 1, 2, 3, 5]], drawn]))
        width = 5 + masking.FRAME**2
        return coloured(torch.stack(views), config.color, rng), detecting.padded(targets, width)

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
    ) -> list[Masks]:
        """The objects of each picture, in its px, the best first."""
        from trainables import detecting, masking

        answers = [Masks.of([], (1, 1), scores=np.zeros(0), labels=np.zeros(0))] * len(pictures)
        for some in detecting.batches(pictures, config):
            found: list[list[Any]] = [[] for _ in some]
            for turn in detecting.turns(config):
                boxes, drawn = forward(detecting.views_of(some, turn).to(device))
                for views, one, answer, shapes in zip(found, some, boxes.float(), drawn.float(), strict=True):
                    rows, left = detecting.rows_of(answer, one, turn, FLOOR)
                    views.append((rows, masking.upright(shapes[left].cpu(), turn)))
            for views, one in zip(found, some, strict=True):
                answers[one.row] = _merged(views, pictures[one.row].shape[:2])
        return answers

    def gather(self, ids: Sequence[str], answers: Sequence[Masks]) -> Instances:
        return Instances(ids=tuple(ids), images=tuple(answers))


def _merged(views: "Sequence[tuple[np.ndarray, torch.Tensor]]", size: tuple[int, int]) -> Masks:
    """The objects of a picture of that size, from the rows [M, 6] and frames [M, S, S] of each view."""
    from trainables import detecting, masking

    rows = np.concatenate([rows for rows, _ in views])
    drawn = [frame for _, frames in views for frame in frames]
    parts = detecting.shares(rows, len(views))
    objects = detecting.merged(rows, parts, len(views))
    masks, kept = [], []
    for k in detecting.best(objects, CAP):
        own = np.flatnonzero(parts[k])
        mask = masking.pasted([drawn[t] for t in own], rows[own], parts[k, own], size)
        if mask.any():
            masks.append(mask)
            kept.append(k)
    chosen = objects[np.array(kept, dtype=np.int64)]
    return Masks.of(masks, size, scores=chosen[:, 4], labels=chosen[:, 5])
