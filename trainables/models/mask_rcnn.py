"""Mask R-CNN, as torchvision has it, on any backbone."""

from typing import TYPE_CHECKING

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainables.config import STRICT
from trainables.models import faster_rcnn

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig

ANSWERS = "instances"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Options(faster_rcnn.Options):
    """What a trial may choose beside the detector."""

    mask_width: int = Field(default=32, ge=4, le=512)
    """Channels of the features that masks are drawn from."""
    mask_depth: int = Field(default=2, ge=1, le=8)
    """Convolutions before the mask is enlarged."""


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A detector of `num_outputs` classes.

    Raises UsageError for a backbone that there is not, or whose weights there are not.
    """
    from trainables.nets.two_stage import MaskTwoStage

    options = Options(**config.options)  # type: ignore[arg-type]
    return MaskTwoStage(config, options, num_outputs)
