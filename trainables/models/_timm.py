"""Every model of timm, under its timm name."""

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainables import pretrained
from trainables.config import STRICT
from trainables.errors import UsageError, unknown
from trainables.named import known_modules

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Options:
    """What a trial may choose; "default" and 0 leave timm's own choice."""

    global_pool: Literal["default", "avg", "max", "avgmax", "catavgmax"] = "default"
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Rate of stochastic depth."""
    blur: bool = False
    """Anti-aliased downsampling (Zhang, 2019): timm's own where the model has it, else a low-pass after each
    layer of stride 2 but the first convolution."""


def build(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """A timm model from float [B, 3, image_size, image_size] to logits [B, num_outputs].

    Raises UsageError for an unknown name, an option or image size that the model cannot take, and
    pretrained weights that cannot be fetched or do not fit; DataError for a file of weights that is broken.
    """
    import timm
    import torch

    if not timm.is_model(config.model):
        raise _unknown_model(config.model)
    if config.pretrained and not config.weights and not timm.is_model_pretrained(config.model):
        raise UsageError(
            f"timm has no pretrained weights of {config.model}.",
            fix="Set pretrained=false, or give a file of your own with --weights.",
        )
    model = _create(config, num_outputs)
    if config.weights:
        named = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
        pretrained.load(model, config, head=[named] if isinstance(named, str) else named)
    try:
        with torch.inference_mode():
            shape = model.eval()(torch.zeros(1, 3, config.image_size, config.image_size)).shape
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        raise UsageError(
            f"{config.model} cannot take images of {config.image_size} px: {_line(error)}",
            fix="Choose another image_size or model.",
        ) from error
    if shape != (1, num_outputs):
        raise UsageError(
            f"{config.model} answers {tuple(shape)} instead of one row of {num_outputs} logits.",
            fix="Choose a classifier.",
        )
    return model


def _unknown_model(name: str) -> UsageError:
    """The error for a name that neither we nor timm know; of timm's 1,400 it lists those that are near."""
    import timm

    own = known_modules("trainables.models")
    return unknown("model", name, {*own, *get_close_matches(name, timm.list_models(), n=20, cutoff=0.5)})


def _create(config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
    """As the options ask, with timm's pretrained weights unless there is a file of them."""
    options = Options(**config.options)  # type: ignore[arg-type]
    wanted: dict[str, Any] = {
        "num_classes": num_outputs,
        "drop_rate": config.dropout or None,
        "drop_path_rate": options.drop_path or None,
        "global_pool": None if options.global_pool == "default" else options.global_pool,
    }
    try:
        return _blurred(config, wanted) if options.blur else _made(config, wanted)
    except UsageError:
        raise
    except (TypeError, AssertionError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{config.model} cannot be built with these options: {_line(error)}",
            fix="Leave out global_pool, drop_path or dropout for this model.",
        ) from error
    except Exception as error:
        if not config.pretrained:
            raise
        raise UsageError(
            f"The pretrained weights of {config.model} cannot be fetched: {_line(error)}",
            fix=f"{pretrained.HOW.format(model=config.model)}; or set pretrained=false.",
        ) from error


def _made(config: "TrialConfig", wanted: dict[str, Any]) -> "torch.nn.Module":
    import timm
    from timm.models import resolve_model_input_args

    fetched = config.pretrained and not config.weights
    arguments = resolve_model_input_args(config.model, {"img_size": config.image_size}, **wanted)
    model: torch.nn.Module = timm.create_model(pretrained=fetched, **arguments)
    return model


def _blurred(config: "TrialConfig", wanted: dict[str, Any]) -> "torch.nn.Module":
    """The model with anti-aliased downsampling. Raises UsageError where nothing can be changed."""
    from timm.layers import BlurPool2d

    from trainables.nets.blur import blur

    try:
        model = _made(config, {**wanted, "aa_layer": BlurPool2d})
    except (TypeError, AssertionError, ValueError, AttributeError):
        model = _made(config, wanted)  # it has no such option
    if not blur(model) and not any(isinstance(module, BlurPool2d) for module in model.modules()):
        raise UsageError(
            f"{config.model} has no layer of stride 2 whose result could be blurred.", fix="Set blur=false."
        )
    return model


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
