"""What a batch is trained on: each image's loss by its kind, mixed and averaged."""

from torch import Tensor

from trainables.config import TrialConfig
from trainables.mixing import Targets
from trainables.task import Kind


class Objective:
    """The training loss of a batch. `counted` are the training part's targets, int64 [n, heads]."""

    def __init__(self, kind: Kind, config: TrialConfig, counted: Tensor) -> None:
        self.kind, self.config = kind, config

    def __call__(self, outputs: Tensor, targets: Targets) -> Tensor:
        """A scalar: mean loss of outputs [B, num_outputs] against the batch's targets."""
        losses = self.kind.losses(outputs, targets.first, self.config)
        return losses.mean()
