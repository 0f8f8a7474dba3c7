"""Losses of masks against slow references."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.errors import UsageError
from trainables.mask_losses import FORGIVEN, LOSSES, SMOOTH, mask_losses

CONFIG = TrialConfig(model="fpn")


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    """Logits and masks [3, 2, 6, 5], the second class of the first picture empty."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(3, 2, 6, 5, generator=generator).gt(0.7).to(torch.uint8)
    masks[0, 1] = 0
    return torch.randn(3, 2, 6, 5, generator=generator), masks


def slow_bce(logits: Tensor, mask: Tensor) -> Tensor:
    p = torch.sigmoid(logits)
    return -(mask * p.log() + (1 - mask) * (1 - p).log()).mean()


def slow_focal(logits: Tensor, mask: Tensor) -> Tensor:
    right = torch.where(mask > 0, torch.sigmoid(logits), torch.sigmoid(-logits))
    return -((1 - right) ** 2 * right.log()).mean()


def slow_dice(logits: Tensor, mask: Tensor) -> Tensor:
    p = torch.sigmoid(logits)
    smooth = SMOOTH if mask.any() else FORGIVEN * mask.numel()
    return 1 - (2 * (p * mask).sum() + smooth) / (p.sum() + mask.sum() + smooth)


def slow_lovasz(logits: Tensor, mask: Tensor) -> Tensor:
    """Pixels by falling hinge error, each weighed by what it takes from the IoU of those before it."""
    errors = 1 - logits.flatten() * (2 * mask.flatten() - 1)
    total, before, wrong = torch.zeros(()), 0.0, torch.zeros(mask.numel(), dtype=torch.bool)
    for pixel in errors.argsort(descending=True):
        wrong[pixel] = True
        said = mask.flatten().bool() ^ wrong
        both, either = (said & mask.flatten().bool()).sum(), (said | mask.flatten().bool()).sum()
        lost = 1 - float(both) / float(either) if either else 0.0
        total = total + errors[pixel].clamp(min=0) * (lost - before)
        before = lost
    return total


SLOW = {"bce": slow_bce, "focal": slow_focal, "dice": slow_dice, "lovasz": slow_lovasz}


@pytest.mark.parametrize("name", [name for name in LOSSES if "batch" not in name])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_loss_is_that_of_its_definition(name: str, seed: int) -> None:
    logits, masks = drawn(seed)
    found = mask_losses(logits, masks, replace(CONFIG, loss=name))
    terms = [SLOW[term] for term in name.split("_")]
    for k in range(3):
        pairs = list(zip(logits[k], masks[k].float(), strict=True))
        slow = sum(torch.stack([term(*pair) for pair in pairs]).mean() for term in terms)
        assert found[k] == pytest.approx(float(slow), abs=1e-5)


def test_dice_of_a_batch_is_that_of_its_pictures_side_by_side() -> None:
    logits, masks = drawn(1)
    found = mask_losses(logits, masks, replace(CONFIG, loss="bce_batchdice"))
    for k in range(3):
        pairs = list(zip(logits[k], masks[k].float(), strict=True))
        entropy = torch.stack([slow_bce(*pair) for pair in pairs]).mean()
        whole = [
            slow_dice(torch.cat(list(logits[:, c])), torch.cat(list(masks[:, c].float()))) for c in (0, 1)
        ]
        assert found[k] == pytest.approx(float(entropy + torch.stack(whole).mean()), abs=1e-5)


def test_a_class_that_no_picture_of_the_batch_holds_is_left_to_the_entropy() -> None:
    logits, masks = drawn(2)
    masks[:, 1] = 0
    one, other = (replace(CONFIG, loss=loss) for loss in ("bce_batchdice", "bce"))
    added = mask_losses(logits, masks, one) - mask_losses(logits, masks, other)
    first = slow_dice(torch.cat(list(logits[:, 0])), torch.cat(list(masks[:, 0].float())))
    assert added.tolist() == pytest.approx([float(first)] * 3, abs=1e-5)
    nothing = torch.zeros_like(masks)
    assert torch.equal(mask_losses(logits, nothing, one), mask_losses(logits, nothing, other))


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_falls_along_its_gradient_and_is_taken_in_float32(name: str) -> None:
    logits, masks = drawn(3)
    logits = logits.bfloat16().requires_grad_()
    before = mask_losses(logits, masks, replace(CONFIG, loss=name))
    before.sum().backward()
    assert before.dtype == torch.float32
    assert logits.grad is not None
    after = mask_losses(logits.float() - 0.1 * logits.grad.float(), masks, replace(CONFIG, loss=name))
    assert after.sum() < before.sum()


def test_the_default_is_named_and_the_focus_is_the_trials() -> None:
    logits, masks = drawn(0)
    default = mask_losses(logits, masks, CONFIG)
    assert torch.equal(default, mask_losses(logits, masks, replace(CONFIG, loss="bce_dice")))
    sharp, soft = (mask_losses(logits, masks, replace(CONFIG, loss="focal", focal=g)) for g in (4.0, 1.0))
    assert (sharp < soft).all()


def test_an_unknown_loss_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="lovas"):
        mask_losses(*drawn(0), replace(CONFIG, loss="lovas"))
