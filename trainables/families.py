"""Model families: a file of `trainables/models`, or, for every other name, timm."""

import importlib
from typing import TYPE_CHECKING, Any, Protocol, cast

from trainables.errors import UsageError
from trainables.named import known_modules

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig


class Family(Protocol):
    """The module of a family: what it lets a trial choose, and how the network is made."""

    Options: type[Any]
    """A frozen pydantic dataclass (see `trainables.config.STRICT`); its defaults are the plain model.

    A family of networks that do not answer with classes also says `ANSWERS`; see `Kind.answers`."""

    def build(self, config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
        """A network from float [B, 3, image_size, image_size] to logits [B, num_outputs].

        Raises UsageError when the options do not make a network, or the name is unknown.
        """


def answers_of(model: str) -> str:
    """What the networks of a model's family answer with: `classes`, unless its module says otherwise."""
    return str(getattr(load_family(model), "ANSWERS", "classes"))


def require_answers(model: str, answers: str) -> None:
    """Raises UsageError where a model answers with something else than a kind asks for."""
    if answers_of(model) != answers:
        known = [name for name in known_modules("trainables.models") if answers_of(name) == answers]
        raise UsageError(
            f"Model {model!r} answers with {answers_of(model)}, and {answers} are asked for.",
            fix=f"Choose one of: {', '.join(known)}" + ("; or any model of timm." * (answers == "classes")),
        )


OF_CLASSES = (
    *("mixup", "cutmix", "label_smoothing", "class_weights", "balance", "hard_share", "ordinal"),
    *("augment", "rotation", "erasing", "start_size", "tta_plain"),
)
OF_DENSE = ("loss", "patches", "favour", "vertical_flip")
"""Fields of a trial that only kinds of classes read, and those that only dense kinds do."""
VIEWS = {True: ("none", "flip", "crops", "flip_crops"), False: ("none", "flip", "eight")}
"""Test-time augmentation of kinds of classes, and of dense kinds."""


def require_read(config: "TrialConfig", answers: str) -> None:
    """Raises UsageError where the configuration sets something that nothing would read.

    `answers` is what the task's kind asks for; see `Kind.answers`.
    """
    from trainables.config import TrialConfig

    usual, classes = TrialConfig(model=config.model), answers == "classes"
    for name in OF_DENSE if classes else OF_CLASSES:
        value = getattr(config, name)
        if value != getattr(usual, name):
            raise UsageError(
                f"{name}={value!r} would do nothing: nothing that answers with {answers} reads it.",
                fix=f"Leave {name} out of the space or of --set.",
            )
    if config.tta not in VIEWS[classes]:
        raise UsageError(
            f"tta={config.tta!r} is not possible for what answers with {answers}.",
            fix=f"Set it to one of {', '.join(VIEWS[classes])}.",
        )


def load_family(model: str) -> Family:
    """The family that builds `model`. Cheap: torch and timm are imported by `build`."""
    own = model in known_modules("trainables.models")
    return cast(Family, importlib.import_module(f"trainables.models.{model if own else '_timm'}"))
