"""Model families: a file of `trainables/models`, or, for every other name, timm."""

import importlib
from typing import TYPE_CHECKING, Any, Protocol, cast

from trainables.task import known_modules

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig


class Family(Protocol):
    """The module of a family: what it lets a trial choose, and how the network is made."""

    Options: type[Any]
    """A frozen pydantic dataclass (see `trainables.config.STRICT`); its defaults are the plain model."""

    def build(self, config: "TrialConfig", num_outputs: int) -> "torch.nn.Module":
        """A network from float [B, 3, image_size, image_size] to logits [B, num_outputs].

        Raises UsageError when the options do not make a network, or the name is unknown.
        """


def load_family(model: str) -> Family:
    """The family that builds `model`. Cheap: torch and timm are imported by `build`."""
    own = model in known_modules("trainables.models")
    return cast(Family, importlib.import_module(f"trainables.models.{model if own else '_timm'}"))
