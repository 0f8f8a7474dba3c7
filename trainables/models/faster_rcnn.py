"""Faster R-CNN, as torchvision has it, on any backbone."""

from typing import TYPE_CHECKING

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainables.config import STRICT
from trainables.models._pyramid import PyramidOptions

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig

ANSWERS = "boxes"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Options(PyramidOptions):
    """What a trial may choose beside the backbone and the anchors."""

    proposals: int = Field(default=200, ge=1, le=5000)
    """Boxes of an image that the second stage looks at."""
    sampled: int = Field(default=64, ge=8, le=2048)
    """Of these so many learn, a quarter of them from objects."""
    representation: int = Field(default=128, ge=8, le=4096)
    """Features of a box."""


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A detector of `num_outputs` classes.

    Raises UsageError for a backbone that there is not, or whose weights there are not.
    """
    from trainables.nets.two_stage import TwoStage

    options = Options(**config.options)  # type: ignore[arg-type]
    return TwoStage(config, options, num_outputs)
