"""The training loss of a batch: soft targets, focus, class weights and hard examples."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.config import TrialConfig
from trainables.kinds.classification import Classification, class_losses
from trainables.mixing import Targets
from trainables.objective import Objective
from trainables.task import Head

ONE = Classification(heads=(Head(name="label", classes=tuple("abcde")),))
THREE = Classification(
    heads=(
        Head(name="root", classes=tuple("abcde"), weight=2.0),
        Head(name="vowel", classes=tuple("abc")),
        Head(name="consonant", classes=tuple("abcd")),
    )
)
KINDS = pytest.mark.parametrize("kind", [ONE, THREE], ids=["one_head", "three_heads"])


def config(**params: Any) -> TrialConfig:
    return TrialConfig(model="convnet", **params)


def answers(kind: Classification, num: int = 12, seed: int = 0) -> tuple[Tensor, Targets]:
    """Outputs and the targets of mixed pictures."""
    generator = torch.Generator().manual_seed(seed)
    outputs = 3 * torch.randn(num, kind.num_outputs(config()), generator=generator)
    first, second = (
        torch.stack([torch.randint(head.num_classes, (num,), generator=generator) for head in kind.heads], 1)
        for _ in range(2)
    )
    return outputs, Targets(first=first, second=second, share=torch.rand(num, generator=generator))


def soft_cross_entropy(
    kind: Classification, outputs: Tensor, targets: Targets, smoothing: float = 0.0
) -> Tensor:
    """Mean over heads of torch's cross entropy against probabilities."""
    assert targets.second is not None
    assert targets.share is not None
    losses = []
    logits = outputs.split([head.num_classes for head in kind.heads], 1)
    for k, head in enumerate(kind.heads):
        one, two = (F.one_hot(hot[:, k], head.num_classes).float() for hot in (targets.first, targets.second))
        soft = targets.share[:, None] * one + (1 - targets.share[:, None]) * two
        losses.append(head.weight * F.cross_entropy(logits[k], soft, label_smoothing=smoothing))
    return torch.stack(losses).sum() / sum(head.weight for head in kind.heads)


@KINDS
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_mixed_picture_has_the_cross_entropy_of_its_soft_target(
    kind: Classification, smoothing: float
) -> None:
    outputs, targets = answers(kind)
    loss = Objective(kind, config(label_smoothing=smoothing), targets.first)(outputs, targets)
    torch.testing.assert_close(loss, soft_cross_entropy(kind, outputs, targets, smoothing))


@KINDS
def test_micro_batches_add_up_to_the_batch(kind: Classification) -> None:
    outputs, targets = answers(kind, 11)
    objective = Objective(kind, config(focal=2.0, class_weights=0.5, label_smoothing=0.1), targets.first)
    parts = zip(outputs.tensor_split(3), targets.split(3), strict=True)
    total = torch.stack([objective(some, theirs) * len(some) / 11 for some, theirs in parts]).sum()
    torch.testing.assert_close(total, objective(outputs, targets))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_scales_the_cross_entropy_of_what_is_already_known(gamma: float) -> None:
    outputs, targets = answers(ONE)
    true = targets.first[:, 0]
    known = torch.softmax(outputs, 1).gather(1, true[:, None])[:, 0]
    expected = (1 - known) ** gamma * F.cross_entropy(outputs, true, reduction="none")
    torch.testing.assert_close(class_losses(outputs, true, config(focal=gamma)), expected)


def test_a_focal_loss_of_vanishing_gamma_is_the_smoothed_cross_entropy() -> None:
    outputs, targets = answers(ONE)
    true = targets.first[:, 0]
    plain, focal = (class_losses(outputs, true, config(label_smoothing=0.3, focal=f)) for f in (0.0, 1e-6))
    torch.testing.assert_close(focal, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 5.0])
def test_a_certain_and_right_answer_has_a_finite_gradient(gamma: float) -> None:
    outputs = torch.tensor([[200.0, 0.0, -200.0], [0.0, 200.0, 0.0]], requires_grad=True)
    losses = class_losses(outputs, torch.tensor([0, 2]), config(focal=gamma, label_smoothing=0.1))
    losses.sum().backward()
    assert losses.isfinite().all()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


def test_the_loss_is_float32_of_half_precision_answers() -> None:
    outputs, targets = answers(ONE)
    for gamma in (0.0, 2.0):
        assert (
            class_losses(outputs.bfloat16(), targets.first[:, 0], config(focal=gamma)).dtype == torch.float32
        )


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_class_weights_follow_the_frequency_and_have_a_mean_of_one(power: float) -> None:
    counted = torch.tensor([0] * 8 + [1] * 2 + [3] * 4)[:, None]
    objective = Objective(ONE, config(class_weights=power), counted)
    outputs = torch.zeros(len(counted), 5)
    weights = torch.stack(
        [objective(outputs[:1], Targets(first=counted[k, None])) for k in range(len(counted))]
    ) / torch.log(torch.tensor(5.0))
    assert float(weights.mean()) == pytest.approx(1)
    assert float(weights[8] / weights[0]) == pytest.approx(4**power)
    assert float(weights[10] / weights[0]) == pytest.approx(2**power)
    torch.testing.assert_close(objective(outputs, Targets(first=counted)), torch.log(torch.tensor(5.0)))


def test_full_class_weights_let_every_class_count_the_same() -> None:
    counted = torch.tensor([0] * 20 + [1] * 3 + [2] * 7)[:, None]
    outputs, _ = answers(ONE, len(counted))
    loss = Objective(ONE, config(class_weights=1.0), counted)(outputs, Targets(first=counted))
    losses = F.cross_entropy(outputs, counted[:, 0], reduction="none")
    by_class = torch.stack([losses[counted[:, 0] == k].mean() for k in range(3)])
    torch.testing.assert_close(loss, by_class.mean())


def test_of_several_heads_their_weights_count_as_the_heads_do() -> None:
    counted = torch.tensor([[0, 0, 0]] * 3 + [[1, 0, 0]])
    weights = [float(Objective(THREE, config(class_weights=1.0), counted).weights[0][k]) for k in (0, 1)]
    assert weights == pytest.approx([2 / 3, 2])
    outputs, _ = answers(THREE, 4)
    objective = Objective(THREE, config(class_weights=1.0), counted)
    plain = Objective(THREE, config(), counted)
    ratio = [
        float(objective(outputs[k, None], shown) / plain(outputs[k, None], shown))
        for k, shown in ((k, Targets(first=counted[k, None])) for k in (0, 3))
    ]
    assert ratio == pytest.approx([(2 * 2 / 3 + 1 + 1) / 4, (2 * 2 + 1 + 1) / 4])


def test_a_mixed_picture_has_the_weights_of_both_its_classes() -> None:
    counted = torch.tensor([0] * 9 + [1])[:, None]
    objective = Objective(ONE, config(class_weights=1.0), counted)
    outputs, _ = answers(ONE, 1)
    one, two = (objective(outputs, Targets(first=torch.tensor([[k]]))) for k in (0, 1))
    both = Targets(first=torch.tensor([[0]]), second=torch.tensor([[1]]), share=torch.tensor([0.25]))
    torch.testing.assert_close(objective(outputs, both), 0.25 * one + 0.75 * two)


@pytest.mark.parametrize(("share", "counted"), [(0.5, 4), (0.25, 2), (0.01, 1)])
def test_only_the_hardest_images_are_learned_from(share: float, counted: int) -> None:
    outputs, targets = answers(ONE, 8)
    outputs.requires_grad_()
    shown = Targets(first=targets.first)
    loss = Objective(ONE, config(hard_share=share), targets.first)(outputs, shown)
    losses = F.cross_entropy(outputs, targets.first[:, 0], reduction="none")
    hardest = losses.argsort(descending=True)[:counted]
    torch.testing.assert_close(loss, losses[hardest].mean())
    loss.backward()
    assert outputs.grad is not None
    learned = outputs.grad.abs().sum(1).nonzero()[:, 0]
    assert sorted(learned.tolist()) == sorted(hardest.tolist())
