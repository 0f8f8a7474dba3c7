"""What a network costs: parameters, size and multiply-accumulates, counted before it is trained."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one network; `macs` for one image."""

    parameters: int
    megabytes: float
    """Of the weights and buffers as they are, in 10^6 bytes."""
    macs: int


def cost_of(model: "nn.Module", image_size: int) -> Cost:
    """Count a network that takes float [1, 3, image_size, image_size], on whatever device it is.

    Convolutions and matrix products are counted, as in the papers; norms and activations are not. Its
    mode, weights and statistics stay as they are.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    weights = [*model.parameters(), *model.buffers()]
    training = model.training
    picture = torch.zeros(1, 3, image_size, image_size, device=weights[0].device)
    learned = [p for p in model.parameters() if p.requires_grad]
    for parameter in learned:  # the counter fails on a parameter that is an input, as in attention pooling
        parameter.requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(picture)
    for parameter in learned:
        parameter.requires_grad_(True)
    model.train(training)
    return Cost(
        parameters=sum(p.numel() for p in model.parameters()),
        megabytes=sum(w.numel() * w.element_size() for w in weights) / 1e6,
        macs=counter.get_total_flops() // 2,
    )
