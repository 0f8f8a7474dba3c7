"""Super-resolution: from a small picture to one so many times as large."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.bicubic import cropped
from trainables.errors import DataError, UsageError, unknown
from trainables.maps import Maps
from trainables.task import Head, Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from trainables.config import TrialConfig
    from trainables.store import Part


@dataclass(frozen=True, kw_only=True)
class SuperResolution:
    """Pictures `scale` times as large as what the model sees, learned on luma.

    As in the papers, what bicubic enlargement lacks is learned of luma alone and added to all colours: the
    metric knows luma only, and the eye hardly more. A sample's truth is the file of the large picture; its
    `shrink` is `scale` where that file is the sample's own, and 1 where the small picture has a file too.
    """

    answers: ClassVar[str] = "pictures"
    scale: int = 3

    @property
    def heads(self) -> tuple[Head, ...]:
        """The scale, as what a user's data decides on travels as heads do."""
        return (Head(name="scale", classes=(str(self.scale),)),)

    def with_heads(self, heads: tuple[Head, ...]) -> "SuperResolution":
        return SuperResolution(scale=int(heads[0].classes[0]))

    def num_outputs(self, config: "TrialConfig") -> int:
        """scale x scale pixels for each that the model sees.

        Raises UsageError for a loss or views that this kind does not know, before anything is trained.
        """
        from trainables.turns import VIEWS
        from trainables.upscaling import PENALTIES

        if config.loss not in ("default", *PENALTIES):
            raise unknown("loss", config.loss, ("default", *PENALTIES))
        if config.tta not in VIEWS:
            raise UsageError(
                f"tta={config.tta!r} is not possible: a picture is enlarged as a whole.",
                fix=f"Set it to one of {', '.join(VIEWS)}.",
            )
        return self.scale**2

    def truth(self, samples: Sequence[Sample], sizes: Sequence[tuple[int, int]]) -> Maps:
        """The large pictures, uint8 [scale H, scale W, 3], cropped to a multiple; decoded when they are read.

        Then DataError is raised, naming the file, for one that is damaged or of another size.
        """
        files = tuple(Path(sample.truth) for sample in samples)
        large = _Large(files=files, sizes=tuple(sizes), scale=self.scale)
        return Maps(ids=tuple(sample.id for sample in samples), images=large, form="picture")

    def order(self, part: "Part", config: "TrialConfig", rng: "np.random.Generator") -> np.ndarray:
        """`config.patches` rows a picture on average, large pictures more often: each pixel counts alike."""
        from trainables.upscaling import by_area

        rows = part.places
        areas = np.array([np.prod(part.images[row].shape[:2]) for row in rows], dtype=np.float64)
        return rows[by_area(areas, len(rows) * config.patches, rng)] if len(rows) else rows

    def batch(
        self, part: "Part", rows: Sequence[int], config: "TrialConfig", rng: "np.random.Generator"
    ) -> "tuple[Tensor, Tensor]":
        """Random patches of S = `config.image_size` px, float32 [B, 3, S, S], and their large sides, uint8.

        Turned at random as `flip` and `vertical_flip` allow; smaller pictures are continued by mirroring.
        """
        import torch

        from trainables.color import normalise
        from trainables.upscaling import kept, patch_pair, random_view

        truth = kept(part.targets)
        pairs = [
            patch_pair(
                part.images[row],
                truth.picture(part.targets, row),
                side=config.image_size,
                view=random_view(config.flip, config.vertical_flip, rng),
                rng=rng,
            )
            for row in map(int, rows)
        ]
        small, large = zip(*pairs, strict=True)
        return normalise(torch.stack(small)), torch.stack(large)

    def losses(
        self, forward: "Callable[..., Tensor]", views: "Tensor", targets: "Tensor", config: "TrialConfig"
    ) -> "Tensor":
        """[B]: by `config.loss` ("default" is l1) on luma of 0..1, of views [B, 3, S, S] and large pictures
        uint8 [B, 3, scale S, scale S]."""
        from trainables.upscaling import PENALTIES, luma

        penalty = PENALTIES["l1" if config.loss == "default" else config.loss]
        return penalty(luma(forward(views).float()) - luma(targets.float() / 255)).mean((1, 2))

    def answer(
        self,
        forward: "Callable[..., Tensor]",
        pictures: Sequence[np.ndarray],
        config: "TrialConfig",
        device: "torch.device",
    ) -> list[np.ndarray]:
        """Each picture uint8 [H, W, 3], of any size, as uint8 [scale H, scale W, 3]."""
        from trainables.upscaling import enlarged

        return enlarged(forward, pictures, scale=self.scale, tta=config.tta, device=device)

    def gather(self, ids: Sequence[str], answers: Sequence[np.ndarray]) -> Maps:
        return Maps(ids=tuple(ids), images=tuple(answers), form="picture")


@dataclass(frozen=True, kw_only=True)
class _Large:
    """Pictures of files, `scale` times as large as `sizes`."""

    files: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    scale: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> np.ndarray:
        from trainables.decode import decode_whole

        file, (height, width) = self.files[row], self.sizes[row]
        try:
            picture = cropped(decode_whole(file), self.scale)
        except DataError as error:
            raise DataError(f"{file}: {error.what}.", fix="Fetch it again, or take it out.") from error
        if picture.shape[:2] != (height * self.scale, width * self.scale):
            raise DataError(
                f"{file} has {picture.shape[1]}x{picture.shape[0]} px, which is not {self.scale} times the"
                f" {width}x{height} px of the small picture.",
                fix="Crop it to a multiple, or take both out.",
            )
        return picture
