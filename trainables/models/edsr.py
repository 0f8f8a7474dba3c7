"""EDSR (Lim et al., 2017) for super-resolution: residual blocks without normalisation, at low resolution."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainables.config import STRICT

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig

ANSWERS = "pictures"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Options:
    """What a trial may choose. The paper's baseline has 16 blocks of 64 channels, its largest 32 of 256."""

    depth: int = Field(default=4, ge=1, le=64)
    """Blocks of two convolutions."""
    width: int = Field(default=32, ge=1, le=512)
    """Channels of every layer."""
    residual_scale: float = Field(default=1.0, gt=0, le=1)
    """Share of a block's result that is added to what came in; wide networks need less than 1."""
    activation: Literal["relu", "leaky_relu", "prelu", "gelu", "silu"] = "relu"


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A network from normalised float [B, 3, H, W] to pictures [B, 3, rH, rW] in 0..1.

    `num_outputs` is r x r. Raises UsageError for pretrained weights without a file of them.
    """
    from trainables.nets.upscale import Residual, upscaler

    options = Options(**config.options)  # type: ignore[arg-type]
    body = Residual(
        blocks=options.depth,
        width=options.width,
        residual_scale=options.residual_scale,
        activation=options.activation,
    )
    return upscaler(body, config, channels=options.width, num_outputs=num_outputs)
