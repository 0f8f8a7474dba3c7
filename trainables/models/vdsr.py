"""VDSR's plain deep stack (Kim et al., 2016) for super-resolution, computed at low resolution."""

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
    """What a trial may choose. The paper's network has 20 layers of 64 channels, on the enlarged picture."""

    depth: int = Field(default=8, ge=1, le=64)
    """Convolutions of 3x3 before the one that makes the pixels."""
    width: int = Field(default=32, ge=1, le=512)
    """Channels of each."""
    activation: Literal["relu", "leaky_relu", "prelu", "gelu", "silu"] = "relu"


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A network from normalised float [B, 3, H, W] to pictures [B, 3, rH, rW] in 0..1.

    `num_outputs` is r x r. Raises UsageError for pretrained weights without a file of them.
    """
    from trainables.nets.upscale import Stack, upscaler

    options = Options(**config.options)  # type: ignore[arg-type]
    body = Stack(depth=options.depth, width=options.width, activation=options.activation)
    return upscaler(body, config, channels=options.width, num_outputs=num_outputs)
