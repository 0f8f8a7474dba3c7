"""The families of masks: what they answer, learn and refuse."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trainables.config import Scalar, TrialConfig, trial_config
from trainables.errors import UsageError
from trainables.families import load_family

SMALL: Mapping[str, Mapping[str, Scalar]] = {
    "unet": {"encoder": "test_resnet", "width": 4},
    "fpn": {"encoder": "test_resnet", "width": 32},
    "deeplab": {"encoder": "test_resnet", "width": 16},
}


def made(model: str, **changes: Scalar) -> tuple[TrialConfig, torch.nn.Module]:
    config = trial_config({"model": model, "image_size": 64, **SMALL[model], **changes})
    torch.manual_seed(0)
    return config, load_family(model).build(config, 3)


@pytest.mark.parametrize("model", SMALL)
def test_every_pixel_of_pictures_of_any_size_is_answered(model: str) -> None:
    _, network = made(model)
    with torch.inference_mode():
        for size in ((64, 64), (32, 96)):
            answers = network.eval()(torch.rand(1, 3, *size))
            assert answers.shape == (1, 3, *size)
    assert torch.sigmoid(answers).mean() < 0.3


@pytest.mark.parametrize("model", SMALL)
def test_it_learns_where_a_square_is(model: str) -> None:
    _, network = made(model, dropout=0.0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    images, masks = torch.zeros(4, 3, 32, 32), torch.zeros(4, 3, 32, 32)
    for k, (top, left) in enumerate([(0, 0), (16, 8), (8, 16), (20, 20)]):
        images[k, :, top : top + 12, left : left + 12] = masks[k, 1, top : top + 12, left : left + 12] = 1
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("model", SMALL)
def test_an_earlier_trials_weights_are_taken_up_for_other_classes(model: str, tmp_path: Path) -> None:
    config, network = made(model)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    again = replace(config, pretrained=True, weights=str(tmp_path / "weights.safetensors"), seed=1)
    torch.manual_seed(1)
    taken = load_family(model).build(again, 5).state_dict()
    same = [
        torch.equal(taken[name], value) for name, value in network.state_dict().items() if "head" not in name
    ]
    assert all(same)


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"encoder": "resnet81"}, "resnet18"),
        ({"encoder": "mixer_s16_224"}, "over the encoder 'mixer_s16_224'"),
        ({"encoder": "vgg11_bn_none"}, "vgg11_bn"),
    ],
)
def test_an_encoder_that_cannot_be_had_is_refused(model: str, change: dict[str, str], wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        made(model, **change)


def test_pretrained_weights_that_nobody_has_are_refused() -> None:
    with pytest.raises(UsageError, match="no pretrained weights of convnext_zepto_rms_ols"):
        made("unet", pretrained=True, encoder="convnext_zepto_rms_ols.none")
