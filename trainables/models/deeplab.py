"""DeepLabV3+ (Chen et al., 2018) for masks, over any convolutional encoder of timm that can be dilated."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainables.config import STRICT

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig

ANSWERS = "masks"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Options:
    """What a trial may choose."""

    encoder: str = "resnet18"
    """A timm model."""
    width: int = Field(default=256, ge=16, le=512)
    """Channels of the pyramid of dilated convolutions and of the decoder."""
    output_stride: Literal[8, 16] = 16
    """How much smaller than the picture the encoder's last map is."""


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A network from float [B, 3, H, W], sides multiples of 32, to logits [B, num_outputs, H, W].

    Raises UsageError for an encoder that is unknown, cannot be dilated or has no pretrained weights.
    """
    from segmentation_models_pytorch import DeepLabV3Plus  # type: ignore[import-untyped]

    from trainables.models._masks import segmenter

    options = Options(**config.options)  # type: ignore[arg-type]
    return segmenter(
        DeepLabV3Plus,
        config,
        num_outputs,
        encoder=options.encoder,
        encoder_output_stride=options.output_stride,
        decoder_channels=options.width,
        decoder_aspp_dropout=0.0,
    )
