"""The searchable network: every combination of its options makes a network that trains."""

import dataclasses
import itertools
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import DropPath

from trainables.config import trial_config
from trainables.errors import UsageError
from trainables.families import load_family
from trainables.nets.convnet import MinPool2d

COMBINATIONS = {
    "depth": st.integers(1, 7),
    "width": st.integers(4, 9),
    "kernel_size": st.sampled_from([3, 5, 7]),
    "stem_stride": st.sampled_from([1, 2, 4]),
    "residual": st.booleans(),
    "drop_path": st.sampled_from([0.0, 0.3]),
    "pooling": st.sampled_from(["max", "avg", "min", "blur"]),
    "global_pool": st.sampled_from(["avg", "max", "avgmax"]),
    "norm": st.sampled_from(["batch", "group", "none"]),
    "activation": st.sampled_from(["relu", "leaky_relu", "gelu", "silu", "mish", "elu"]),
    "init": st.sampled_from(["kaiming", "xavier", "orthogonal"]),
    "dropout": st.sampled_from([0.0, 0.5]),
}


def network(**params: Any) -> torch.nn.Module:
    config = trial_config({"model": "convnet", "image_size": 16, **params})
    return load_family("convnet").build(config, 5)


def batch(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(10, 3, side, side, generator=generator), torch.arange(10) % 5


def fit(model: torch.nn.Module, side: int, *, steps: int) -> list[float]:
    """Losses of a few updates on one batch."""
    x, y = batch(side)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_the_strategy_covers_every_option() -> None:
    options = {field.name for field in dataclasses.fields(load_family("convnet").Options)}
    assert options | {"dropout"} == set(COMBINATIONS)


@settings(max_examples=60, deadline=None)
@given(options=st.fixed_dictionaries(COMBINATIONS), side=st.sampled_from([8, 16, 64]))
def test_any_combination_builds_and_takes_a_step(options: dict[str, Any], side: int) -> None:
    torch.manual_seed(0)
    model = network(**options, image_size=side)
    (loss,) = fit(model, side, steps=1)
    assert 0 < loss < 20
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    logits = model.eval()(batch(side)[0])
    assert logits.shape == (10, 5)
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("norm", "residual", "pooling", "init"),
    list(
        itertools.product(
            ["batch", "group", "none"], [False, True], ["max", "blur"], ["kaiming", "xavier", "orthogonal"]
        )
    ),
)
def test_it_learns_a_batch_by_heart(norm: str, residual: bool, pooling: str, init: str) -> None:
    torch.manual_seed(0)
    model = network(norm=norm, residual=residual, pooling=pooling, init=init, width=8, stem_stride=1)
    losses = fit(model, 16, steps=25)
    assert min(losses[-3:]) < 0.7 * losses[0]


@pytest.mark.parametrize("residual", [True, False])
def test_a_deep_network_without_normalisation_starts_sane(residual: bool) -> None:
    torch.manual_seed(0)
    logits = network(depth=24, norm="none", residual=residual, width=8)(batch(16)[0])
    assert 1e-4 < logits.std() < 10


def test_more_stages_than_pixels_do_not_shrink_the_map_away() -> None:
    model = network(image_size=8, stem_stride=4, depth=8)
    sides: list[int] = []
    for module in model.stages:  # type: ignore[union-attr]
        module.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
    model(batch(8)[0])
    assert set(sides) == {2}


def test_depth_counts_blocks_and_width_the_first_channels() -> None:
    model = network(depth=6, width=12)
    blocks = [m for m in model.stages if hasattr(m, "first")]  # type: ignore[union-attr]
    assert [b.second[0].out_channels for b in blocks] == [12, 24, 24, 48, 96, 96]


def test_min_pooling_takes_the_smallest() -> None:
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(MinPool2d(2)(x), x.unfold(2, 2, 2).unfold(3, 2, 2).amin((-2, -1)))


def test_dropout_is_silent_in_evaluation() -> None:
    model = network(dropout=0.5)
    x = batch(16)[0]
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    ("key", "value"), [("depth", 0), ("width", 2), ("kernel_size", 4), ("pooling", "mean"), ("norm", "layer")]
)
def test_a_value_out_of_range_is_refused(key: str, value: object) -> None:
    with pytest.raises(UsageError, match=key):
        trial_config({"model": "convnet", key: value})


def test_a_mistyped_option_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'pooling'"):
        trial_config({"model": "convnet", "poolin": "max"})


def test_checking_a_configuration_does_not_load_torch() -> None:
    code = (
        "import sys; from trainables.config import trial_config\n"
        "trial_config({'model': 'convnet', 'depth': 3})\n"
        "trial_config({'model': 'resnet18', 'drop_path': 0.1})\n"
        "print({'torch', 'timm'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_stochastic_depth_leaves_out_branches_in_training_only() -> None:
    deep = {"depth": 4, "width": 8, "norm": "none"}
    model, plain = network(**deep, drop_path=0.8), network(**deep)
    model.load_state_dict(plain.state_dict())
    rates = [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8])
    x, _ = batch(16)
    torch.testing.assert_close(model.eval()(x), plain.eval()(x))
    torch.manual_seed(0)
    model.train()
    assert not torch.equal(model(x), model(x))
    assert not any(isinstance(m, DropPath) for m in plain.modules())
