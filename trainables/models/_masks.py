"""What the families of segmentation_models_pytorch share: an encoder of timm, weights, a first answer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trainables import pretrained
from trainables.errors import UsageError

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig

PRIOR = -2.0
"""Logit that an untrained network gives every pixel: masks are mostly empty."""


def segmenter(
    make: "Callable[..., torch.nn.Module]",
    config: "TrialConfig",
    num_outputs: int,
    *,
    encoder: str,
    **how: Any,
) -> "torch.nn.Module":
    """A network of the family `make` over the timm model `encoder`, with logits in every pixel.

    Weights are `config.weights`, those of an earlier trial; or where `config.pretrained` asks for them, the
    encoder's own, which are fetched; else random. Raises UsageError for an encoder that is unknown, gives no
    maps or has no weights.
    """
    from torch import nn

    fetched = config.pretrained and not config.weights
    _check_encoder(encoder, fetched=fetched)
    try:
        weights = "imagenet" if fetched else None
        model: Any = make(f"tu-{encoder}", encoder_weights=weights, classes=num_outputs, **how)
    except Exception as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"{config.model} cannot be built over the encoder {encoder!r}: {line[:200]}",
            fix="Choose a convolutional encoder, such as resnet18"
            + (", or set pretrained=false." if fetched else "."),
        ) from error
    head = model.segmentation_head
    nn.init.constant_(head[0].bias, PRIOR)
    model.segmentation_head = nn.Sequential(nn.Dropout2d(config.dropout), head)
    if config.weights:
        pretrained.load(model, config, head=["segmentation_head"])
    return model  # type: ignore[no-any-return]


def _check_encoder(encoder: str, *, fetched: bool) -> None:
    from difflib import get_close_matches

    import timm

    from trainables.errors import unknown

    if not timm.is_model(encoder):
        raise unknown("encoder", encoder, get_close_matches(encoder, timm.list_models(), n=20, cutoff=0.5))
    if fetched and not timm.is_model_pretrained(encoder):
        raise UsageError(
            f"timm has no pretrained weights of {encoder}.",
            fix="Set pretrained=false, or give an earlier trial's weights.safetensors with --weights.",
        )
