"""Semantic segmentation: a mask of each class, which may overlap, or none at all."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.dense_layouts import Masked
from trainables.maps import LEVEL, Maps, quantised
from trainables.run_lengths import decode
from trainables.task import Head, Sample

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables.config import TrialConfig
    from trainables.store import Part


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """One head, whose classes each have a mask: pixels are asked for each class by itself (sigmoid).

    A sample's truth is a text of run lengths a class; its target says of each class whether it is there.
    """

    answers: ClassVar[str] = "masks"
    heads: tuple[Head, ...]

    def with_heads(self, heads: tuple[Head, ...]) -> "Segmentation":
        return Segmentation(heads=heads)

    def num_outputs(self, config: "TrialConfig") -> int:
        return self.heads[0].num_classes

    def truth(self, samples: Sequence[Sample], sizes: Sequence[tuple[int, int]]) -> Maps:
        """Masks of 0 and 1, decoded when they are read; that raises DataError naming the file of a wrong one.

        `sizes` are the pictures' (height, width).
        """
        masks = _Decoded(samples=tuple(samples), sizes=tuple(sizes), classes=self.heads[0].classes)
        return Maps(ids=tuple(sample.id for sample in samples), images=masks, form="byte")

    def order(self, part: "Part", config: "TrialConfig", rng: "np.random.Generator") -> np.ndarray:
        """Each picture `config.patches` times, in a random order.

        Pictures that hold something come more often where they are fewer than `config.favour` of all.
        """
        from trainables.mask_crops import dealt, holding

        rows = part.places
        count = len(rows) * config.patches
        if not config.favour:
            return dealt(rows, count, rng)
        holds = holding(part.targets)[rows]
        some = round(count * max(config.favour, holds.mean())) if holds.any() else 0
        drawn = [dealt(rows[holds], some, rng), dealt(rows[~holds], count - some, rng)]
        return rng.permutation(np.concatenate(drawn))

    def batch(
        self, part: "Part", rows: Sequence[int], config: "TrialConfig", rng: "np.random.Generator"
    ) -> "tuple[Tensor, Tensor]":
        """Views of S = `config.image_size` px, float32 [B, 3, S, S], and their masks uint8 [B, C, S, S].

        A share `config.favour` of all views is centred near something that the picture holds.
        """
        from trainables.mask_crops import holding, traces, training_views

        favour = config.favour and _chance(config.favour, holding(part.targets)[part.places])
        found = [traces(part.targets, int(row)) for row in rows]
        return training_views([part.images[row] for row in rows], found, config, favour=favour, rng=rng)

    def losses(
        self, forward: "Callable[..., Tensor]", views: "Tensor", targets: "Tensor", config: "TrialConfig"
    ) -> "Tensor":
        """[B] of views [B, 3, S, S] and masks [B, C, S, S] by `config.loss`: see `mask_losses.LOSSES`.

        Raises UsageError for a loss that is not known.
        """
        from trainables.mask_losses import mask_losses

        return mask_losses(forward(views), targets, config)

    def answer(
        self,
        forward: "Callable[..., Tensor]",
        pictures: Sequence[np.ndarray],
        config: "TrialConfig",
        device: "torch.device",
    ) -> "list[Packed]":
        """The probabilities of every class in each pixel of pictures uint8 [H, W, 3] of any sizes."""
        from trainables.segmenting import masks_of

        return [Packed.of(found) for found in masks_of(forward, pictures, tta=config.tta, device=device)]

    def gather(self, ids: Sequence[str], answers: "Sequence[Packed]") -> Maps:
        """Probabilities in steps of 1/255."""
        return Maps(ids=tuple(ids), images=_Unpacked(tuple(answers)), form="byte")


def _chance(favour: float, holds: np.ndarray) -> float:
    """That a picture which holds something is looked at there, for a share `favour` of all views to be so."""
    shown = max(favour, float(holds.mean()))
    return favour / shown


def labelled(masked: Masked) -> tuple[Sample, ...]:
    """The samples with their run lengths, and whether each class is there."""
    return tuple(
        replace(sample, truth=texts, target=tuple(int(text != "") for text in texts))
        for sample, texts in zip(masked.samples, masked.runs, strict=True)
    )


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Probabilities [C, H, W] in steps of 1/255, compressed: those of a whole part fit into memory."""

    shape: tuple[int, ...]
    data: bytes = field(repr=False)

    @staticmethod
    def of(probabilities: np.ndarray) -> "Packed":
        return Packed(
            shape=probabilities.shape, data=zlib.compress(quantised(probabilities).tobytes(), LEVEL)
        )

    def image(self) -> np.ndarray:
        """float32 [C, H, W]."""
        steps = np.frombuffer(zlib.decompress(self.data), np.uint8).reshape(self.shape)
        return steps * np.float32(1 / 255)


@dataclass(frozen=True)
class _Unpacked:
    answers: tuple[Packed, ...]

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.answers[row].image()


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    """Masks of 0 and 1 of samples' run lengths."""

    samples: tuple[Sample, ...]
    sizes: tuple[tuple[int, int], ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, row: int) -> np.ndarray:
        sample, size = self.samples[row], self.sizes[row]
        masks = [
            decode(text, size, where=f"{sample.path}, class {label!r}")
            for label, text in zip(self.classes, sample.truth, strict=True)
        ]
        return np.stack(masks).astype(np.float32)
