"""A trial, described: one frozen value decides everything that a trial does."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from trainables.errors import UsageError, unknown

Scalar = bool | int | float | str
Optimizer = Literal["sgd", "adam", "adamw", "nadamw", "lion", "rmsprop"]
Schedule = Literal["cosine", "step", "onecycle", "constant"]
Views = Literal["none", "flip", "crops", "flip_crops", "eight"]
WHOLE = 1
"""The number of folds that leaves nothing to validate on."""
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrialConfig:
    """One trial. What only one model family understands stands in `options`, checked by that family.

    Units are in the names of the fields' docstrings; the file form is the flat mapping of `params()`.
    """

    model: str
    """A module of `trainables/models`, or any timm model name."""
    pretrained: bool = False
    weights: str = ""
    """Where pretrained weights are taken from: a file, or a folder of MODEL.safetensors; "" fetches them."""
    image_size: int = Field(default=64, ge=8, le=2048)
    """Side of the square that the model sees, in px."""
    batch_size: int = Field(default=64, ge=1, le=65536)
    epochs: int = Field(default=10, ge=1, le=100_000)
    optimizer: Optimizer = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(default=0.01, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD and RMSprop, beta1 of the Adam family."""
    schedule: Schedule = "cosine"
    warmup_epochs: float = Field(default=0.0, ge=0)
    clip_grad: float = Field(default=0.0, ge=0)
    """Largest gradient norm; 0 clips nothing."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    accumulate: int = Field(default=1, ge=1, le=1024)
    """Batches whose gradients make one update."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate of each group of layers relative to the next one towards the head."""
    head_epochs: int = Field(default=0, ge=0)
    """Two-stage fine-tuning: so many epochs train the classifier alone, then all layers are trained."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Decay an update of the averaged weights, which are then validated and kept; 0 averages nothing."""
    patience: int = Field(default=0, ge=0)
    """The trial ends after so many epochs without a better score; 0 never."""
    start_size: float = Field(default=1.0, gt=0, le=1)
    """Progressive resizing: training begins at this share of `image_size` and reaches it at two thirds."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    focal: float = Field(default=0.0, ge=0, le=10)
    """Focusing parameter gamma of the focal loss; 0 is cross entropy."""
    class_weights: float = Field(default=0.0, ge=0, le=1)
    """An image's loss counts as its class' frequency to the power of minus this."""
    balance: float = Field(default=0.0, ge=0, le=1)
    """Images are drawn as their class' frequency to the power of minus this; 0 sees each once an epoch."""
    hard_share: float = Field(default=1.0, gt=0, le=1)
    """Hard-example mining: only this share of a batch, that of highest loss, is learned from."""
    mixup: float = Field(default=0.0, ge=0)
    """Alpha of the Beta distribution of mixup; 0 mixes nothing."""
    cutmix: float = Field(default=0.0, ge=0)
    """Alpha of CutMix; with mixup too, each batch takes one of the two."""
    mix_probability: float = Field(default=1.0, ge=0, le=1)
    """Share of the batches that mixup or CutMix changes."""
    ordinal: Literal["classes", "regression", "cumulative"] = "classes"
    """How ordered grades are learned; other tasks know classes only."""
    loss: str = "default"
    """Of dense kinds, which name what they know; "default" is the kind's own."""
    patches: int = Field(default=1, ge=1, le=4096)
    """Of dense kinds: random crops of `image_size` px that an epoch takes of each picture, on average."""
    favour: float = Field(default=0.0, ge=0, le=1)
    """Of dense kinds: share of the crops that are taken where something is."""
    vertical_flip: bool = False
    """Random flip upside down, and with `flip` a quarter turn: for pictures without an upright."""
    augment: Literal["none", "standard", "randaugment", "trivialaugment"] = "standard"
    crop: float = Field(default=0.0, ge=0, lt=1)
    """Random resized crop: the smallest area is 1 - crop of the image."""
    flip: bool = False
    """Random horizontal flip."""
    rotation: float = Field(default=0.0, ge=0, le=180)
    """Random rotation, in degrees to either side."""
    translate: float = Field(default=0.0, ge=0, lt=1)
    """Random shift, as a share of the side."""
    color: float = Field(default=0.0, ge=0, le=1)
    """Strength of brightness, contrast, saturation and hue jitter."""
    erasing: float = Field(default=0.0, ge=0, le=1)
    """Probability of random erasing."""
    tta: Views = "none"
    """Test-time augmentation of the final predictions: views beside the plain one. Crops are for classes;
    eight are all flips and quarter turns, for dense kinds."""
    tta_plain: float = Field(default=0.5, ge=-1, le=1)
    """Weight of the plain view against all others together; -1 fits it on the validation part."""
    folds: int = Field(default=0, ge=0, le=100)
    """Cross-validation over train and valid together in so many folds; 0 keeps the data's own parts, and
    `WHOLE` trains on both and validates on nothing."""
    fold: int = Field(default=0, ge=0)
    """The fold, counted from 0, that this trial is validated on."""
    amp: Literal["auto", "bf16", "off"] = "auto"
    """bf16 autocast; auto uses it where the device gains from it."""
    seed: int = Field(default=0, ge=0)
    options: Mapping[str, Scalar] = Field(default_factory=dict)
    """The model family's own options."""

    def params(self) -> dict[str, Scalar]:
        """The flat form: every field, the family's options among them."""
        flat = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "options"}
        return {**flat, **self.options}

    def to_json(self) -> str:
        return json.dumps(self.params(), indent=1, sort_keys=True)


def common_keys() -> frozenset[str]:
    """Names of the fields that every trial has."""
    return frozenset(f.name for f in dataclasses.fields(TrialConfig)) - {"options"}


def option_keys(model: str) -> frozenset[str]:
    """Names of what only this model's family understands."""
    from trainables.families import load_family

    return frozenset(f.name for f in dataclasses.fields(load_family(model).Options))


def trial_config(params: Mapping[str, Any]) -> TrialConfig:
    """The configuration of a flat mapping.

    Raises UsageError for a key that neither the trial nor its model family knows, or a value out of range.
    """
    from trainables.families import load_family

    if "model" not in params:
        raise UsageError("The configuration names no model.", fix="Let the space return a 'model'.")
    common = {k: v for k, v in params.items() if k in common_keys()}
    rest = {k: v for k, v in params.items() if k not in common}
    family = load_family(str(params["model"]))
    known = frozenset(f.name for f in dataclasses.fields(family.Options))
    for key in rest:
        if key not in known:
            raise unknown(f"parameter for model {params['model']!r}:", key, common_keys() | known)
    try:
        return TrialConfig(**common, options=dataclasses.asdict(family.Options(**rest)))
    except ValidationError as error:
        raise UsageError(describe(error), fix="Change the search space or the --set option.") from None


def describe(error: ValidationError) -> str:
    """A validation error as one line: which key, which value, what is wanted."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "configuration"
    return f"{key}={first.get('input')!r} is not possible: {first['msg']}."
