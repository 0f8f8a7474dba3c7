"""Classification with one or more heads: each asks one question of the image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from trainables.predictions import Dense
from trainables.task import Head

if TYPE_CHECKING:
    import torch

    from trainables.config import TrialConfig


@dataclass(frozen=True, kw_only=True)
class Classification:
    """The heads' logits stand side by side in the model's output, in the heads' order."""

    answers: ClassVar[str] = "classes"
    heads: tuple[Head, ...]

    def with_heads(self, heads: tuple[Head, ...]) -> "Classification":
        return Classification(heads=heads)

    def num_outputs(self, config: "TrialConfig") -> int:
        return sum(head.num_classes for head in self.heads)

    def losses(
        self, outputs: "torch.Tensor", targets: "torch.Tensor", config: "TrialConfig"
    ) -> "torch.Tensor":
        """[B]: mean over the heads, by their weights, of `class_losses`.

        `outputs` [B, num_outputs], `targets` int64 [B, heads]. Taken in float32 whatever the autocast.
        """
        from torch import stack

        losses = [
            head.weight * class_losses(logits, targets[:, i], config)
            for i, (head, logits) in enumerate(self._split(outputs))
        ]
        return stack(losses).sum(0) / sum(head.weight for head in self.heads)

    def predict(self, ids: Sequence[str], outputs: "torch.Tensor", config: "TrialConfig") -> Dense:
        """Outputs [N, num_outputs] as float32 logits, one field a head."""
        fields = {head.name: logits.detach().float().cpu().numpy() for head, logits in self._split(outputs)}
        return Dense(ids=tuple(ids), fields=fields)

    def _split(self, outputs: "torch.Tensor") -> Iterator[tuple[Head, "torch.Tensor"]]:
        widths = [head.num_classes for head in self.heads]
        return zip(self.heads, outputs.split(widths, dim=1), strict=True)


def class_losses(logits: "torch.Tensor", targets: "torch.Tensor", config: "TrialConfig") -> "torch.Tensor":
    """[B]: cross entropy of logits [B, classes] with targets int64 [B], smoothed and focused as configured.

    The focal loss (Lin et al., 2017) scales each class' term by (1 - p)^gamma; with label smoothing the
    other classes' terms are scaled likewise, by their own p. Taken in float32.
    """
    from torch.nn.functional import cross_entropy, log_softmax

    smoothing = config.label_smoothing
    if not config.focal:
        return cross_entropy(logits.float(), targets, label_smoothing=smoothing, reduction="none")
    logs = log_softmax(logits.float(), 1)
    # bounded, as gamma < 1 has no gradient at a probability of one
    terms = -((-logs.expm1()).clamp(min=1e-12) ** config.focal) * logs
    true = terms.gather(1, targets[:, None])[:, 0]
    return (1 - smoothing) * true + smoothing * terms.mean(1)
