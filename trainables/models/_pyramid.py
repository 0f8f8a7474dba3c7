"""What torchvision's detectors let a trial choose in common: the backbone and the pyramid on it."""

from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainables.config import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PyramidOptions:
    """The backbone, its levels and the sizes of the objects."""

    backbone: str = "light"
    """A model of timm's, or "light", a small one of our own."""
    width: int = Field(default=16, ge=4, le=128)
    """Of "light": channels of the first map, at half the resolution."""
    depth: int = Field(default=1, ge=0, le=8)
    """Of "light": residual blocks of each map but the first."""
    norm: Literal["batch", "group"] = "batch"
    """Normalisation of the backbone, which is trained like the rest; groups suit small batches."""
    channels: int = Field(default=64, ge=32, le=512, multiple_of=32)
    """Channels of the pyramid and of the heads on it."""
    finest: Literal[4, 8, 16] = 8
    """Stride of the pyramid's first level."""
    levels: int = Field(default=2, ge=1, le=5)
    """Levels of the pyramid, each with twice the stride of the one before."""
    object_size: float = Field(default=32.0, gt=0)
    """Side of a usual object in px of the view: the anchors are made around it."""
    nms: float = Field(default=0.5, gt=0, le=1)
    """IoU above which a better box suppresses another."""
