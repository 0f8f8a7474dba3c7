"""FSRCNN (Dong et al., 2016) for super-resolution: the light one, with ESPCN's pixel shuffle as its head."""

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
    """What a trial may choose. The paper's network is (width, narrow, depth) = (56, 12, 4) with PReLU."""

    depth: int = Field(default=5, ge=1, le=64)
    """Convolutions of 3x3 between the narrow features."""
    width: int = Field(default=48, ge=1, le=512)
    """Channels of the first and the last features."""
    narrow: int = Field(default=16, ge=1, le=512)
    """Channels between them."""
    activation: Literal["relu", "leaky_relu", "prelu", "gelu", "silu"] = "prelu"


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A network from normalised float [B, 3, H, W] to pictures [B, 3, rH, rW] in 0..1.

    `num_outputs` is r x r. Raises UsageError for pretrained weights without a file of them.
    """
    from trainables.nets.upscale import Hourglass, upscaler

    options = Options(**config.options)  # type: ignore[arg-type]
    body = Hourglass(
        depth=options.depth, width=options.width, narrow=options.narrow, activation=options.activation
    )
    return upscaler(body, config, channels=options.width, num_outputs=num_outputs)
