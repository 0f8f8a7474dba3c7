"""Ordered grades: learned as classes, as a number, or as the questions "more than k?"."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from trainables.kinds.classification import Classification
from trainables.predictions import Dense
from trainables.task import Head

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables.config import TrialConfig

SPREAD = 0.7
"""Standard deviation, in grades, of the Gaussian around a regressed grade: about a usual error."""


@dataclass(frozen=True, kw_only=True)
class Ordinal:
    """One head, whose classes are grades from the lowest to the highest.

    `config.ordinal` says how they are learned; each way answers with logits of the grades, so that
    members of all three blend.

    - `classes`: cross entropy, one output a grade; the order is not told.
    - `regression`: squared error of one output, which is the grade less the middle of the scale.
    - `cumulative`: one output a threshold k, the logit of "the grade is more than k", after Li & Lin
      (2006) and CORAL (Cao et al., 2020). The outputs after the first are made steps down by softplus,
      so that the probabilities never rise with k.
    """

    answers: ClassVar[str] = "classes"
    heads: tuple[Head, ...]

    def with_heads(self, heads: tuple[Head, ...]) -> "Ordinal":
        return Ordinal(heads=heads)

    def num_outputs(self, config: "TrialConfig") -> int:
        grades = self.heads[0].num_classes
        return {"classes": grades, "regression": 1, "cumulative": grades - 1}[config.ordinal]

    def losses(self, outputs: "Tensor", targets: "Tensor", config: "TrialConfig") -> "Tensor":
        """[B] of outputs [B, num_outputs] against grades int64 [B, 1]; float32 whatever the autocast.

        Label smoothing holds for classes, and for the answers of the thresholds.
        """
        if config.ordinal == "classes":
            return Classification(heads=self.heads).losses(outputs, targets, config)
        if config.ordinal == "regression":
            return (outputs.float()[:, 0] + self._middle - targets[:, 0]).square()
        return _threshold_losses(thresholds(outputs), targets, config.label_smoothing)

    def predict(self, ids: Sequence[str], outputs: "torch.Tensor", config: "TrialConfig") -> Dense:
        """Outputs [N, num_outputs] as float32 logits of the grades, [N, grades]."""
        if config.ordinal == "classes":
            return Classification(heads=self.heads).predict(ids, outputs, config)
        logits = self._around(outputs) if config.ordinal == "regression" else between(thresholds(outputs))
        return Dense(ids=tuple(ids), fields={self.heads[0].name: logits.detach().cpu().numpy()})

    @property
    def _middle(self) -> float:
        return (self.heads[0].num_classes - 1) / 2

    def _around(self, outputs: "Tensor") -> "Tensor":
        """Logarithm of a Gaussian around the regressed grade, at every grade: [N, 1] to [N, grades]."""
        import torch

        grades = torch.arange(self.heads[0].num_classes, device=outputs.device)
        return -(outputs.float() + self._middle - grades).square() / (2 * SPREAD**2)


def thresholds(outputs: "Tensor") -> "Tensor":
    """Logits float32 [B, thresholds] of "more than k", none above the one before it."""
    import torch
    from torch.nn.functional import softplus

    first, steps = outputs.float()[:, :1], softplus(outputs.float()[:, 1:])
    return torch.cat([first, first - steps.cumsum(1)], 1)


def between(logits: "Tensor") -> "Tensor":
    """Log-probabilities [B, grades] of the grades, from the logits [B, grades - 1] of "more than k".

    The difference of two sigmoids, in a form that stays exact where both are near 0 or 1.
    """
    import torch
    from torch.nn.functional import logsigmoid

    gaps = (logits[:, :-1] - logits[:, 1:]).clamp(min=1e-6)
    inner = logsigmoid(logits[:, :-1]) + logsigmoid(-logits[:, 1:]) + torch.log(-torch.expm1(-gaps))
    return torch.cat([logsigmoid(-logits[:, :1]), inner, logsigmoid(logits[:, -1:])], 1)


def _threshold_losses(logits: "Tensor", targets: "Tensor", smoothing: float) -> "Tensor":
    """[B]: binary cross entropy of each threshold, summed."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    above = (targets > torch.arange(logits.shape[1], device=logits.device)).float()
    smooth = above * (1 - smoothing) + smoothing / 2
    return binary_cross_entropy_with_logits(logits, smooth, reduction="none").sum(1)
