"""Models of timm under their own names, and what is said when one cannot be had."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers import BlurPool2d
from torch import nn

from trainables.config import trial_config
from trainables.errors import UsageError
from trainables.families import load_family
from trainables.nets.blur import blur


def build(model: str, **params: Any) -> torch.nn.Module:
    config = trial_config({"model": model, "image_size": 64, **params})
    return load_family(model).build(config, 7)


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
@pytest.mark.parametrize("image_size", [64, 96])
def test_convolutional_and_attention_models_take_the_image_size(model: str, image_size: int) -> None:
    network = build(model, image_size=image_size)
    assert network(torch.zeros(2, 3, image_size, image_size)).shape == (2, 7)


def test_dropout_pooling_and_drop_path_reach_the_model() -> None:
    network = build("test_resnet", dropout=0.25, global_pool="max", drop_path=0.1)
    assert network.drop_rate == 0.25
    assert network.global_pool.pool_type == "max"  # type: ignore[union-attr]
    assert any(type(m).__name__ == "DropPath" for m in network.modules())


def test_a_mistyped_model_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'resnet18'"):
        build("resnet_18")


def test_a_mistyped_model_of_ours_is_found_among_all() -> None:
    with pytest.raises(UsageError, match="Did you mean 'convnet'"):
        build("convnett")


def test_an_image_size_that_the_model_cannot_take_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot take images of 64 px"):
        build("inception_v4")


def test_an_option_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match=r"densenet121 cannot be built.*drop_path"):
        build("densenet121", drop_path=0.1)


def test_pretrained_weights_that_nobody_published_are_refused() -> None:
    with pytest.raises(UsageError, match="timm has no pretrained weights of ghostnet_050"):
        build("ghostnet_050", pretrained=True)


def test_pretrained_weights_out_of_reach_say_what_to_do(tmp_path: Path) -> None:
    code = (
        "from trainables.config import trial_config\n"
        "from trainables.errors import UsageError\n"
        "from trainables.models import _timm\n"
        "config = trial_config({'model': 'test_resnet', 'pretrained': True})\n"
        "try: _timm.build(config, 7)\n"
        "except UsageError as error: print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "pretrained weights of test_resnet cannot be fetched" in done.stdout, done.stderr
    assert "--weights FILE" in done.stdout
    assert "test_resnet.safetensors" in done.stdout
    assert "pretrained=false" in done.stdout


@pytest.mark.parametrize(
    "model", ["test_resnet", "test_efficientnet", "regnetx_002", "densenet121", "dla46_c"]
)
def test_blurred_models_keep_the_names_shapes_and_answers(model: str) -> None:
    plain, blurred = build(model), build(model, blur=True)
    blurred.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    assert blurred(x).shape == plain(x).shape
    assert not torch.allclose(blurred(x), plain(x))


@pytest.mark.parametrize("kernel", [1, 2, 3, 7])
@pytest.mark.parametrize("side", [1, 2, 7, 8])
def test_a_blurred_layer_is_the_layer_at_every_pixel_and_a_low_pass(kernel: int, side: int) -> None:
    padding = kernel // 2
    layer = nn.Conv2d(3, 4, kernel, 2, padding)
    network = nn.Sequential(nn.Conv2d(3, 3, 1), layer)
    x = torch.randn(2, 3, side, side)
    dense = F.conv2d(x, layer.weight, layer.bias, 1, padding)
    expected = layer(x).shape
    assert blur(network) == 1
    found = layer(x)
    assert found.shape == expected
    if min(dense.shape[-2:]) > 1:
        torch.testing.assert_close(found, BlurPool2d(4)(dense), rtol=1e-4, atol=1e-5)


def test_a_blurred_pool_shifts_less_with_the_picture() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 8, 33, 33)
    pools = [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, 1)]
    assert blur(nn.Sequential(pools[1])) == 1
    moved = [(pool(x[..., 1:, 1:]) - pool(x[..., :-1, :-1])).square().mean().item() for pool in pools]
    assert moved[1] < 0.7 * moved[0]


def test_a_model_with_nothing_to_blur_is_refused() -> None:
    with pytest.raises(UsageError, match="test_vit has no layer of stride 2"):
        build("test_vit", blur=True)
