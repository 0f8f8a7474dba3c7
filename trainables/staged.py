"""What changes in the course of a training: which layers learn, and how large the pictures are."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.config import TrialConfig
from trainables.errors import UsageError

FULL_AT = 2 / 3
"""Share of the epochs after which pictures have their full size."""
SIZE_STEP = 8
"""Sizes on the way are multiples of this, in px."""


def size_in(config: TrialConfig, epoch: int) -> int:
    """Side in px of the training pictures in an epoch counted from 1: progressive resizing.

    It grows linearly from `start_size` to the whole at two thirds of the epochs (Howard, 2018; Tan and
    Le, 2021).
    """
    progress = min(1.0, (epoch - 1) / (FULL_AT * config.epochs))
    if progress == 1 or config.start_size == 1:
        return config.image_size
    size = config.image_size * (config.start_size + (1 - config.start_size) * progress)
    return min(config.image_size, max(SIZE_STEP, SIZE_STEP * round(size / SIZE_STEP)))


def require_sizes(model: nn.Module, config: TrialConfig) -> None:
    """Raises UsageError where the network cannot take the first pictures of progressive resizing."""
    first = size_in(config, 1)
    device = next(model.parameters()).device
    training = model.training
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, first, first, device=device))
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"{config.model} cannot take the {first} px of start_size={config.start_size}: {line}",
            fix="Set start_size=1, or choose a convolutional model.",
        ) from error
    finally:
        model.train(training)


class HeadFirst:
    """Two-stage fine-tuning: the classifier alone, on a network that is otherwise left as it came; then all.

    Raises UsageError where the network does not say which of its layers is the classifier.
    """

    def __init__(self, model: nn.Module, config: TrialConfig) -> None:
        self.epochs = config.head_epochs
        head = _classifier(model) if self.epochs else []
        if self.epochs and not any(list(module.parameters()) for module in head):
            raise UsageError(
                f"{config.model} does not say which of its layers is the classifier.",
                fix="Set head_epochs=0, or choose another model.",
            )
        inside = {module for each in head for module in each.modules()}
        kept = {parameter for each in head for parameter in each.parameters()}
        self.frozen = [p for p in model.parameters() if p not in kept]
        self.norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m not in inside]

    def begin(self, epoch: int) -> None:
        """Freeze or thaw for an epoch counted from 1; the network is in training mode already."""
        if not self.epochs:
            return
        first = epoch <= self.epochs
        for parameter in self.frozen:
            parameter.requires_grad_(not first)
        if first:
            for norm in self.norms:
                norm.eval()


def _classifier(model: nn.Module) -> list[nn.Module]:
    """By timm's convention, which our own networks follow: one layer or several."""
    get = getattr(model, "get_classifier", None)
    found = get() if get is not None else None
    layers = found if isinstance(found, tuple | list) else [found]
    return [layer for layer in layers if isinstance(layer, nn.Module)]
