"""FCOS, as torchvision has it, on any backbone."""

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
    """What a trial may choose; no anchors are needed, a level's points learn objects of 4 to 8 strides."""

    head_depth: int = Field(default=2, ge=1, le=8)
    """Convolutions of each of the two heads."""


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A detector of `num_outputs` classes.

    Raises UsageError for a backbone that there is not, or whose weights there are not.
    """
    from trainables.nets.one_stage import fcos

    options = Options(**config.options)  # type: ignore[arg-type]
    return fcos(config, options, num_outputs)
