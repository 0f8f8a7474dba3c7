"""RetinaNet, as torchvision has it, on any backbone."""

from typing import TYPE_CHECKING

from pydantic.dataclasses import dataclass

from trainables.config import STRICT
from trainables.models._pyramid import PyramidOptions

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig

ANSWERS = "boxes"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Options(PyramidOptions):
    """What a trial may choose: the backbone, and the anchors by `object_size`."""


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A detector of `num_outputs` classes.

    Raises UsageError for a backbone that there is not, or whose weights there are not.
    """
    from trainables.nets.one_stage import retinanet

    options = Options(**config.options)  # type: ignore[arg-type]
    return retinanet(config, options, num_outputs)
