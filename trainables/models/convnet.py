"""Our own searchable convolutional network, trained from scratch; small enough for a laptop's cores."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainables import pretrained
from trainables.config import STRICT
from trainables.errors import UsageError

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
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Stochastic depth (Huang et al., 2016): probability that the last residual branch is left out of an
    image's training step; earlier ones in proportion to their depth. Nothing where nothing is residual."""
    pooling: Literal["max", "avg", "min", "blur"] = "max"
    """How the map is halved; blur is a binomial low-pass (Zhang, 2019)."""
    global_pool: Literal["avg", "max", "avgmax"] = "avg"
    norm: Literal["batch", "group", "none"] = "batch"
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "mish", "elu"] = "relu"
    init: Literal["kaiming", "xavier", "orthogonal"] = "kaiming"
    """Distribution of the convolutions' first weights."""


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A network from float [B, 3, image_size, image_size] to logits [B, num_outputs].

    Raises UsageError for pretrained weights without a file of them, or a file of another network's.
    """
    from trainables.nets.convnet import ConvNet

    if config.pretrained and not config.weights:
        raise UsageError(
            "Nobody publishes pretrained weights of convnet.",
            fix="Set pretrained=false, or give an earlier trial's weights.safetensors with --weights.",
        )
    options = Options(**config.options)  # type: ignore[arg-type]
    model = ConvNet(options, image_size=config.image_size, num_outputs=num_outputs, dropout=config.dropout)
    if config.weights:
        pretrained.load(model, config, head=["head"])
    return model
