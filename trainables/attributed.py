"""Where a classifier looks, and what its channels look for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.color import normalise
from trainables.looking import Looker, NotShown, Spot, unnormalised

FEWEST_CELLS = 4
"""Side of the smallest map that still says where."""
STEPS, RATE = 48, 0.08
"""Of the ascent towards what a channel responds to."""
CONTRAST = 1.2
"""Spread of the logits of its pixels."""
OCTAVES = (1, 2, 4, 8, 16)
"""The picture is a sum of pictures so many times smaller, so that coarse forms are found before noise."""


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Grad-CAM of some pictures, for one class each."""

    layer: Spot
    maps: np.ndarray
    """float32 [B, S, S] in 0..1, each divided by its own maximum; 0 where nothing speaks for the class."""


def grad_cam(looker: Looker, rows: np.ndarray, classes: np.ndarray, *, head: int = 0) -> Attention:
    """Grad-CAM (Selvaraju et al., 2017), by captum, for the class int64 [B] of each picture of `rows` [B].

    Taken at the last layer whose map has at least `FEWEST_CELLS` cells a side and that the answer depends on:
    in a transformer the patches of the last block may not reach it. Raises NotShown where there is none.
    """
    fit = [spot for spot in looker.spots if spot.side >= FEWEST_CELLS] or looker.spots
    for spot in reversed(fit):
        found = _grad_cam(looker, spot, looker.pictures(rows), _Wanted(looker, classes, head))
        if found.any():
            speaks = found.clamp(min=0)
            scale = speaks.amax((1, 2), keepdim=True).clamp(min=1e-12)
            return Attention(layer=spot, maps=(speaks / scale).cpu().numpy())
    raise NotShown(f"the answer of {looker.config.model} depends on none of its maps")


class _Wanted:
    """Pictures to what the network says of one class each, [B]."""

    def __init__(self, looker: Looker, classes: np.ndarray, head: int) -> None:
        self.looker, self.head = looker, head
        self.classes = torch.from_numpy(classes).to(looker.device)

    def __call__(self, pictures: Tensor) -> Tensor:
        """The logit where the outputs are logits; else, as of grades, minus the loss against the class."""
        looker = self.looker
        outputs = looker.model(pictures)
        widths = [head.num_classes for head in looker.heads]
        if outputs.shape[1] == sum(widths):
            logits: Tensor = outputs.split(widths, 1)[self.head].gather(1, self.classes[:, None])
            return logits[:, 0]
        return -looker.kind.losses(outputs, self.classes[:, None], looker.config)


def _grad_cam(looker: Looker, spot: Spot, pictures: Tensor, wanted: _Wanted) -> Tensor:
    """float32 [B, S, S], negative where it speaks against the class."""
    from captum.attr import LayerGradCam

    tap = nn.Identity()
    pictures.requires_grad_()
    with looker.tapped({spot.name: tap}):
        cam: Tensor = LayerGradCam(wanted, tap).attribute(pictures)
    return cam.detach().float()[:, 0]


def liked(looker: Looker, spot: Spot, channels: Sequence[int]) -> np.ndarray:
    """A picture for each channel that makes its mean answer large, uint8 [n, size, size, 3].

    Activation maximisation (Erhan et al., 2009) over a pyramid of pictures (as Mordvintsev et al., 2015),
    which moves by a few pixels at each step, so that no single pixel matters. Its mean colour is kept grey
    and its contrast the same, so that it shows a form where there is one. A channel that noise does not
    excite, and so gives no gradient, stays with noise.
    """
    size, chosen = looker.size, torch.tensor(channels, device=looker.device)
    generator = torch.Generator().manual_seed(0)
    sides = sorted({max(1, size // octave) for octave in OCTAVES})
    pyramid = [_noise(len(channels), side, generator).to(looker.device).requires_grad_() for side in sides]
    optimizer = torch.optim.Adam(pyramid, lr=RATE)
    answers: list[Tensor] = []

    def watch(x: Tensor) -> None:
        answers.append(x[torch.arange(len(chosen), device=x.device), chosen])

    with looker.tapped({spot.name: watch}):
        for _ in range(STEPS):
            down, across = torch.randint(-(size // 16), size // 16 + 1, (2,), generator=generator).tolist()
            looker.model(normalise(255 * _sum(pyramid, size).roll((down, across), (2, 3))))
            optimizer.zero_grad()
            (-answers.pop().mean((1, 2)).sum()).backward()
            optimizer.step()
    return unnormalised(normalise(255 * _sum(pyramid, size).detach()))


def _noise(num: int, side: int, generator: torch.Generator) -> Tensor:
    return torch.randn(num, 3, side, side, generator=generator)


def _sum(pyramid: Sequence[Tensor], size: int) -> Tensor:
    """[B, 3, size, size] in 0..1, of one mean and spread; coarse levels weigh more, as in photographs."""
    enlarged = [F.interpolate(level, (size, size), mode="bilinear") / level.shape[-1] for level in pyramid]
    total = torch.stack(enlarged).sum(0)
    centred = total - total.mean((2, 3), keepdim=True)
    return (CONTRAST * centred / centred.std((1, 2, 3), keepdim=True).clamp(min=1e-6)).sigmoid()
