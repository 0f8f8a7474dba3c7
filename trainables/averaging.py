"""An exponential moving average of the weights: a smoother network, for one more pass over them."""

import copy

import torch
from torch import Tensor, nn


class Average:
    """A copy of a network that follows it by `decay` an update (Polyak and Juditsky, 1992).

    After t updates the decay is at most (1 + t) / (10 + t), as in TensorFlow's ExponentialMovingAverage, so
    that a short trial is not held back by its first weights. Running statistics of normalisation are averaged
    alike, whole numbers copied. Make it once the network's tensors are those that will be trained.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay, self.updates = decay, 0
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        self._mine, self._theirs = _columns([p for p in pairs if p[0].is_floating_point()])
        self._counts, self._their_counts = _columns([p for p in pairs if not p[0].is_floating_point()])

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's weights in, as they are after an update."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._mine, self._theirs, 1 - decay)
        if self._counts:
            torch._foreach_copy_(self._counts, self._their_counts)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*(p.detach() for p in model.parameters()), *model.buffers()]


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [mine for mine, _ in pairs], [theirs for _, theirs in pairs]
