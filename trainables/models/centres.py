"""Our own one-stage detector, trained from scratch; small enough for a laptop's cores."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainables.config import STRICT
from trainables.errors import UsageError

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig

ANSWERS = "boxes"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Options:
    """What a trial may choose: one map of points, on which objects of all sizes are found."""

    width: int = Field(default=16, ge=4, le=128)
    """Channels of the first map, at half the resolution; they double with each further halving."""
    depth: int = Field(default=1, ge=0, le=8)
    """Residual blocks of each map but the first."""
    stride: Literal[4, 8, 16] = 8
    """Px from point to point: about a quarter of a usual object, and less than from object to object."""
    context: int = Field(default=1, ge=0, le=4)
    """Coarser maps that are added to it."""
    radius: float = Field(default=1.5, gt=0, le=8)
    """Points within so many strides of an object's middle learn its box."""
    object_size: float = Field(default=32.0, gt=0)
    """Side of a usual object in px of the view, from which training begins."""
    box_weight: float = Field(default=2.0, gt=0)
    """Weight of the boxes' loss beside the scores'."""
    prior: float = Field(default=0.05, gt=0, lt=1)
    """Score of every point before training."""
    nms: float = Field(default=0.5, gt=0, le=1)
    """IoU above which a better box suppresses another."""


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A detector of `num_outputs` classes. Raises UsageError for pretrained weights: there are none."""
    from trainables.nets.centres import Centres

    if config.pretrained or config.weights:
        raise UsageError("There are no pretrained weights of centres.", fix="Set pretrained=false.")
    return Centres(Options(**config.options), num_outputs)  # type: ignore[arg-type]
