"""Our own one-stage detector with a mask for each object, trained from scratch."""

from typing import TYPE_CHECKING

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainables.config import STRICT
from trainables.errors import UsageError
from trainables.models import centres

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig

ANSWERS = "instances"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Options(centres.Options):
    """What a trial may choose beside the detector."""

    mask_width: int = Field(default=32, ge=4, le=512)
    """Channels of the features that masks are drawn from."""
    mask_depth: int = Field(default=2, ge=1, le=8)
    """Convolutions before the mask is enlarged."""
    mask_weight: float = Field(default=1.0, gt=0)
    """Weight of the masks' loss."""


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A network of `num_outputs` classes. Raises UsageError for pretrained weights: there are none."""
    from trainables.nets.centres import CentreMasks

    if config.pretrained or config.weights:
        raise UsageError("There are no pretrained weights of centre_masks.", fix="Set pretrained=false.")
    return CentreMasks(Options(**config.options), num_outputs)  # type: ignore[arg-type]
