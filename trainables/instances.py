"""Instances: the masks of the objects in each image, kept as run lengths, and their form on disk."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from trainables import atomic, coco_rle
from trainables.boxes import Boxes, Neighbours
from trainables.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Masks:
    """The M objects of one image of `size` (height, width), each a mask as COCO's string of run lengths.

    `scores` is float32 [M], `labels` int64 [M]. In the truth an object's score is 1, and 0 marks a
    region of many objects (COCO's crowd). Raises DataError where these differ in length.
    """

    size: coco_rle.Size
    counts: tuple[bytes, ...]
    scores: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        count = (len(self.counts),)
        if self.scores.shape != count or self.labels.shape != count:
            raise DataError(
                f"{len(self.counts)} masks, {self.scores.shape} scores, {self.labels.shape} labels."
            )
        if not np.isfinite(self.scores).all():
            raise DataError("A mask's score is not finite.")

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def runs(self) -> tuple[np.ndarray, ...]:
        """The run lengths of each mask. Raises DataError where they do not fill the size."""
        runs = tuple(coco_rle.unpack(counts) for counts in self.counts)
        for one in runs:
            coco_rle.check(one, self.size)
        return runs

    @staticmethod
    def of(
        masks: Sequence[np.ndarray], size: coco_rle.Size, *, scores: np.ndarray, labels: np.ndarray
    ) -> "Masks":
        """From masks bool [H, W]."""
        return Masks(
            size=size,
            counts=tuple(coco_rle.pack(coco_rle.runs_of(mask)) for mask in masks),
            scores=np.asarray(scores, dtype=np.float32).reshape(-1),
            labels=np.asarray(labels, dtype=np.int64).reshape(-1),
        )

    def pixels(self) -> np.ndarray:
        """All masks as bool [M, H, W]."""
        unpacked = [coco_rle.mask_of(runs, self.size) for runs in self.runs]
        return np.stack(unpacked) if unpacked else np.zeros((0, *self.size), dtype=bool)

    def boxes(self) -> np.ndarray:
        """The boxes around the masks as rows of `Boxes`, float32 [M, 6]."""
        return np.column_stack([self._edges, self.scores, self.labels]).astype(np.float32)

    @cached_property
    def _edges(self) -> np.ndarray:
        return np.array([coco_rle.box(runs, self.size) for runs in self.runs]).reshape(-1, 4)

    def pick(self, rows: Sequence[int] | np.ndarray) -> "Masks":
        """The given objects, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        counts = tuple(self.counts[i] for i in index)
        return Masks(size=self.size, counts=counts, scores=self.scores[index], labels=self.labels[index])

    def neighbours(self) -> Neighbours:
        """The overlapping pairs of one label."""
        overlaps = np.triu(coco_rle.iou(self.runs, self.runs, self.size), 1)
        i, j = np.nonzero((overlaps > 0) & (self.labels[:, None] == self.labels))
        return Neighbours.from_pairs(i, j, overlaps[i, j], len(self))


@dataclass(frozen=True, kw_only=True)
class Instances:
    """The objects of each image: `images[i]` answers `ids[i]`."""

    ids: tuple[str, ...]
    images: tuple[Masks, ...]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.ids):
            raise DataError(f"Masks of {len(self.images)} images do not fit {len(self.ids)} ids.")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | np.ndarray) -> "Instances":
        """The given images, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        return Instances(ids=tuple(self.ids[i] for i in index), images=tuple(self.images[i] for i in index))

    def above(self, score: float) -> "Instances":
        """Only the objects of at least that score."""
        kept = tuple(masks.pick(np.flatnonzero(masks.scores >= score)) for masks in self.images)
        return Instances(ids=self.ids, images=kept)

    def boxes(self) -> Boxes:
        """The boxes around the masks."""
        return Boxes(ids=self.ids, images=tuple(masks.boxes() for masks in self.images))

    def save(self, path: Path) -> None:
        """Write as npz: ids, sizes, scores and labels, and all strings as one array; atomic."""
        counts = [one for masks in self.images for one in masks.counts]
        arrays = {
            "ids": np.asarray(self.ids, dtype=np.str_),
            "sizes": np.array([masks.size for masks in self.images], dtype=np.int32).reshape(-1, 2),
            "offsets": np.cumsum([0, *map(len, self.images)]),
            "scores": np.concatenate([np.zeros(0, np.float32), *(m.scores for m in self.images)]),
            "labels": np.concatenate([np.zeros(0, np.int64), *(m.labels for m in self.images)]),
            "counts": np.frombuffer(b"".join(counts), dtype=np.uint8),
            "cuts": np.cumsum([0, *map(len, counts)]),
        }
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]  # its stubs take the names for allow_pickle
        atomic.write(path, content.getvalue())

    @staticmethod
    def load(path: Path) -> "Instances":
        """Read what `save` wrote; raises DataError on a file that is missing, cut or not ours."""
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                return _loaded({name: file[name] for name in file.files})
        except Exception as error:
            raise DataError(
                f"{path}: these instances cannot be read ({error}).", fix="Run the trial again."
            ) from error


def _loaded(arrays: dict[str, np.ndarray]) -> Instances:
    """What `Instances.save` wrote. Raises KeyError, ValueError, DataError."""
    text, cuts = arrays["counts"].tobytes(), arrays["cuts"].tolist()
    if cuts[-1] != len(text):
        raise ValueError("the run lengths are cut short")
    counts = [text[a:b] for a, b in pairwise(cuts)]
    offsets = arrays["offsets"].tolist()
    if not len(counts) == offsets[-1] == len(arrays["scores"]) == len(arrays["labels"]):
        raise ValueError(f"{len(counts)} masks where {offsets[-1]} are due")
    parts = zip(arrays["sizes"].tolist(), offsets[:-1], offsets[1:], strict=True)
    images = tuple(
        Masks(
            size=(height, width),
            counts=tuple(counts[a:b]),
            scores=arrays["scores"][a:b],
            labels=arrays["labels"][a:b],
        )
        for (height, width), a, b in parts
    )
    return Instances(ids=tuple(str(i) for i in arrays["ids"]), images=images)
