"""What a batch is trained on: each image's loss by its kind, mixed, weighted and averaged."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.mixing import Targets
from trainables.task import DenseKind, Kind

Forward = Callable[..., Any]
"""The network under the trial's autocast."""


class Goal(Protocol):
    """What a step learns towards."""

    def reached(self, forward: Forward, x: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, of a batch x [B, 3, H, W]; and what is kept of each image, [B, ...]."""


class Objective:
    """The training loss of a batch. `counted` are the training part's targets, int64 [n, heads].

    A mixed picture costs what its two images cost, by their shares: with cross entropy that is exactly the
    cross entropy against the mixed, soft target. Of micro-batches, each gives its own hardest images.
    """

    def __init__(self, kind: Kind, config: TrialConfig, counted: Tensor) -> None:
        self.kind, self.config = kind, config
        self.weights = _class_weights(counted, config.class_weights) if config.class_weights else []
        """float [classes] a head, on the device of the targets."""
        self.shares = torch.tensor([head.weight for head in kind.heads], device=counted.device)
        self.shares /= self.shares.sum()

    def reached(self, forward: Forward, x: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """The loss, and the outputs [B, num_outputs]."""
        outputs = forward(x)
        return self(outputs, targets), outputs

    def __call__(self, outputs: Tensor, targets: Targets) -> Tensor:
        """A scalar: mean loss of outputs [B, num_outputs] against the batch's targets."""
        losses = self._losses(outputs, targets.first)
        if targets.second is not None and targets.share is not None:
            losses = torch.lerp(self._losses(outputs, targets.second), losses, targets.share)
        if self.config.hard_share < 1:
            losses = losses.topk(max(1, round(self.config.hard_share * len(losses)))).values
        return losses.mean()

    def _losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """[B], weighted by the images' classes."""
        losses = self.kind.losses(outputs, targets, self.config)
        if not self.weights:
            return losses
        weights = torch.stack([w[t] for w, t in zip(self.weights, targets.unbind(1), strict=True)], 1)
        return losses * (weights @ self.shares)


class DenseObjective:
    """The training loss of a batch of views of a dense kind: the mean of what the kind says."""

    def __init__(self, kind: DenseKind, config: TrialConfig) -> None:
        self.kind, self.config = kind, config

    def reached(self, forward: Forward, x: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """The loss, and each view's."""
        losses = self.kind.losses(forward, x, targets.first, self.config).float()
        return losses.mean(), losses


def _class_weights(counted: Tensor, power: float) -> list[Tensor]:
    """For each head float [classes]: frequency to the power of minus `power`, of mean one over the images."""
    weights = []
    for targets in counted.cpu().unbind(1):
        counts = targets.bincount().clamp(min=1).float()
        raw = counts**-power
        weights.append((raw / raw[targets].mean()).to(counted.device))
    return weights
