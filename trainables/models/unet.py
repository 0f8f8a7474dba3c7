"""U-Net (Ronneberger et al., 2015) for masks, over any convolutional encoder of timm."""

from typing import TYPE_CHECKING

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainables.config import STRICT

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig

LEVELS = 5

ANSWERS = "masks"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Options:
    """What a trial may choose."""

    encoder: str = "resnet18"
    """A timm model."""
    width: int = Field(default=16, ge=4, le=128)
    """Channels of the decoder at the picture's resolution; they double at each level below."""
    attention: bool = False
    """Squeeze-and-excitation of channels and places in the decoder (Roy et al., 2018)."""


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A network from float [B, 3, H, W], sides multiples of 32, to logits [B, num_outputs, H, W].

    Raises UsageError for an encoder that is unknown, gives no maps or has no pretrained weights.
    """
    from segmentation_models_pytorch import Unet  # type: ignore[import-untyped]

    from trainables.models._masks import segmenter

    options = Options(**config.options)  # type: ignore[arg-type]
    return segmenter(
        Unet,
        config,
        num_outputs,
        encoder=options.encoder,
        decoder_channels=[options.width * 2**k for k in reversed(range(LEVELS))],
        decoder_attention_type="scse" if options.attention else None,
    )
