"""Which images an epoch shows: all of them once, or classes nearer to equally often."""

import pytest
import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.sampling import Sampler


def sampler(targets: Tensor, balance: float) -> Sampler:
    rows = 10 + torch.arange(len(targets))
    return Sampler(TrialConfig(model="convnet", balance=balance), rows, targets)


def shown(targets: Tensor, balance: float, epochs: int = 200) -> Tensor:
    """Share [n] of each image in many epochs."""
    generator = torch.Generator().manual_seed(0)
    asked = sampler(targets, balance)
    drawn = torch.cat([asked.epoch(generator) - 10 for _ in range(epochs)])
    return drawn.bincount(minlength=len(targets)) / len(drawn)


RARE = torch.tensor([0] * 60 + [1] * 30 + [4] * 10)[:, None]


def test_without_balance_each_image_is_shown_once() -> None:
    order = sampler(RARE, 0.0).epoch(torch.Generator().manual_seed(0))
    assert order.tolist() != order.sort().values.tolist()
    assert order.sort().values.tolist() == list(range(10, 110))


@pytest.mark.parametrize(
    ("balance", "expected"), [(1.0, [1 / 3, 1 / 3, 1 / 3]), (0.5, [0.473, 0.334, 0.193])]
)
def test_classes_are_shown_as_their_frequency_to_the_power_asked_for(
    balance: float, expected: list[float]
) -> None:
    share = shown(RARE, balance)
    by_class = [float(share[RARE[:, 0] == k].sum()) for k in (0, 1, 4)]
    assert by_class == pytest.approx(expected, abs=0.02)


def test_images_of_one_class_are_shown_alike() -> None:
    share = shown(RARE, 1.0, epochs=1000)[RARE[:, 0] == 4]
    assert float(share.min()) == pytest.approx(1 / 30, rel=0.1)
    assert float(share.max()) == pytest.approx(1 / 30, rel=0.1)


def test_of_several_heads_the_geometric_mean_of_the_frequencies_counts() -> None:
    targets = torch.tensor([[0, 0]] * 8 + [[1, 0]] * 2)
    share = shown(targets, 1.0)
    assert float(share[9] / share[0]) == pytest.approx(2.0, rel=0.15)


def test_an_epoch_is_as_long_as_without_balance_and_decided_by_the_generator() -> None:
    asked = sampler(RARE, 0.7)
    one, other, another = (asked.epoch(torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert len(one) == 100
    assert torch.equal(one, other)
    assert not torch.equal(one, another)
