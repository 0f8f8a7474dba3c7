"""Feature pyramid (Kirillov et al., 2019) for masks, over any convolutional encoder of timm."""

from typing import TYPE_CHECKING

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
    width: int = Field(default=128, ge=32, le=512, multiple_of=32)
    """Channels of the masks' branch, which ends at a quarter of the picture's resolution; the pyramid has
    twice as many. A multiple of 32, for groups of them are normalised together."""


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A network from float [B, 3, H, W], sides multiples of 32, to logits [B, num_outputs, H, W].

    Raises UsageError for an encoder that is unknown, gives no maps or has no pretrained weights.
    """
    from segmentation_models_pytorch import FPN  # type: ignore[import-untyped]

    from trainables.models._masks import segmenter

    options = Options(**config.options)  # type: ignore[arg-type]
    return segmenter(
        FPN,
        config,
        num_outputs,
        encoder=options.encoder,
        decoder_pyramid_channels=2 * options.width,
        decoder_segmentation_channels=options.width,
        decoder_dropout=0.0,
    )
