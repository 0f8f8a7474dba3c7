"""Our own searchable convolutional network, trained from scratch; small enough for a laptop's cores."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainables.config import STRICT

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Options:
    """What a trial may choose. Any combination makes a network at any image size.

    Up to four stages; between two of them the map is halved while its side is at least 4 px, and the
    channels double.
    """

    depth: int = Field(default=4, ge=1, le=32)
    """Number of blocks of two convolutions, spread evenly over the stages."""
    width: int = Field(default=24, ge=4, le=256)
    """Channels of the first stage."""
    kernel_size: Literal[3, 5, 7] = 3
    stem_stride: Literal[1, 2, 4] = 2
    """Stride of the first convolution; 1 keeps small pictures whole, 2 is four times cheaper."""
    residual: bool = True
    pooling: Literal["max", "avg", "min", "blur"] = "max"
    """How the map is halved; blur is a binomial low-pass (Zhang, 2019)."""
    global_pool: Literal["avg", "max", "avgmax"] = "avg"
    norm: Literal["batch", "group", "none"] = "batch"
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "mish", "elu"] = "relu"
    init: Literal["kaiming", "xavier", "orthogonal"] = "kaiming"
    """Distribution of the convolutions' first weights."""


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A network from float [B, 3, image_size, image_size] to logits [B, num_outputs]."""
    from trainables.nets.convnet import ConvNet

    options = Options(**config.options)  # type: ignore[arg-type]
    return ConvNet(options, image_size=config.image_size, num_outputs=num_outputs, dropout=config.dropout)
