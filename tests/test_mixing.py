"""Mixup and CutMix: what is shown of each image, and what its targets say about it."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest  # type: ignore[import-untyped]
from torch import Tensor

from trainables.config import TrialConfig
from trainables.mixing import Mixer, Targets


def mixer(seed: int = 0, **params: Any) -> Mixer:
    return Mixer(TrialConfig(model="convnet", **params), torch.Generator().manual_seed(seed))


def batch(num: int = 8, side: int = 16) -> tuple[Tensor, Tensor]:
    """Image k is k + 1 everywhere, and so is its target of two heads."""
    values = torch.arange(1, num + 1)
    return values[:, None, None, None].float().expand(-1, 3, side, side).clone(), values[:, None].repeat(1, 2)


def shares(num: int, **params: Any) -> Tensor:
    _, targets = mixer(**params)(*batch(num, 8))
    assert targets.share is not None
    return targets.share


def test_without_mixing_the_batch_itself_is_given_and_no_number_is_drawn() -> None:
    x, targets = batch()
    for nothing in (mixer(), mixer(mixup=1.0, mix_probability=0.0)):
        before = nothing.generator.get_state()
        views, shown = nothing(x, targets)
        assert views is x
        assert shown.first is targets
        assert shown.second is None
        assert torch.equal(nothing.generator.get_state(), before)


@pytest.mark.parametrize("method", ["mixup", "cutmix"])
@settings(max_examples=30, deadline=None)
@given(num=st.integers(1, 9), side=st.integers(8, 20), alpha=st.floats(0.05, 4), seed=st.integers(0, 999))
def test_the_share_is_how_much_of_the_picture_is_the_first_image(
    method: str, num: int, side: int, alpha: float, seed: int
) -> None:
    x, targets = batch(num, side)
    views, shown = mixer(seed, **{method: alpha})(x, targets)
    assert shown.second is not None
    assert shown.share is not None
    assert torch.equal(shown.first, targets)
    assert ((shown.share >= 0) & (shown.share <= 1)).all()
    first, second = targets[:, 0], shown.second[:, 0]
    expected = shown.share * first + (1 - shown.share) * second
    torch.testing.assert_close(views.mean((1, 2, 3)), expected, atol=1e-4, rtol=1e-5)


def test_mixup_shows_both_images_everywhere() -> None:
    x, targets = torch.rand(6, 3, 8, 8), torch.arange(6)[:, None]
    views, shown = mixer(mixup=1.0)(x, targets)
    assert shown.second is not None
    assert shown.share is not None
    share = shown.share[:, None, None, None]
    torch.testing.assert_close(views, share * x + (1 - share) * x[shown.second[:, 0]])


def test_cutmix_pastes_one_rectangle_of_the_same_place() -> None:
    x, targets = torch.rand(32, 3, 12, 12), torch.arange(32)[:, None]
    views, shown = mixer(cutmix=1.0)(x, targets)
    assert shown.second is not None
    for view, own, other in zip(views, x, x[shown.second[:, 0]], strict=True):
        pasted = (view != own).any(0)
        rows, columns = pasted.any(1), pasted.any(0)
        assert torch.equal(pasted, rows[:, None] & columns)
        for line in (rows, columns):
            places = line.nonzero()[:, 0].tolist()
            assert places == list(range(min(places, default=0), min(places, default=0) + len(places)))
        assert torch.equal(view[:, pasted], other[:, pasted])


def test_each_image_is_paired_with_another_one() -> None:
    x, targets = batch()
    _, shown = mixer(mixup=1.0)(x, targets)
    assert shown.second is not None
    assert (shown.second != targets).all()
    assert torch.equal(shown.second.sort(0).values, targets)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixup_shares_are_beta_distributed(alpha: float) -> None:
    drawn = shares(4000, mixup=alpha).numpy()
    assert kstest(drawn, "beta", args=(alpha, alpha)).statistic < 0.03


def test_the_given_images_are_not_changed() -> None:
    for method in ("mixup", "cutmix"):
        x, targets = batch()
        mixer(0, **{method: 1.0})(x, targets)
        assert torch.equal(x, batch()[0])
        assert torch.equal(targets, batch()[1])


def test_a_share_of_the_batches_is_mixed() -> None:
    some = mixer(mixup=1.0, mix_probability=0.3)
    mixed = sum(some(*batch(2))[1].second is not None for _ in range(600))
    assert 130 < mixed < 230


def test_with_both_each_batch_takes_one_of_the_two() -> None:
    both = mixer(mixup=1.0, cutmix=1.0)
    x, targets = batch(4)
    pasted = 0
    for _ in range(300):
        views, _ = both(x, targets)
        pasted += bool((views == views.round()).all())  # a blend of whole numbers is none
    assert 110 < pasted < 190


def test_the_same_generator_gives_the_same_batch_whatever_else_is_drawn() -> None:
    params = {"mixup": 0.4, "cutmix": 1.0, "mix_probability": 0.8}
    one, other, another = mixer(1, **params), mixer(1, **params), mixer(2, **params)
    x = torch.rand(8, 3, 8, 8)
    targets = torch.arange(8)[:, None]
    first = torch.stack([one(x, targets)[0] for _ in range(5)])
    torch.rand(100)
    np.random.random(100)
    assert torch.equal(first, torch.stack([other(x, targets)[0] for _ in range(5)]))
    assert not torch.equal(first, torch.stack([another(x, targets)[0] for _ in range(5)]))


def test_parts_of_mixed_targets_are_parts_of_everything() -> None:
    _, shown = mixer(mixup=1.0)(*batch(7))
    parts = shown.split(3)
    for field in ("first", "second", "share"):
        assert torch.equal(torch.cat([getattr(part, field) for part in parts]), getattr(shown, field))
    assert [len(part.first) for part in Targets(first=batch(7)[1]).split(3)] == [3, 2, 2]
