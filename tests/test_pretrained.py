"""Pretrained weights from files: found, read, checked, and explained where they do not fit."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.test_train import QUICK, Listener, quick, store, task
from trainables.config import TrialConfig, trial_config
from trainables.errors import DataError, UsageError
from trainables.families import load_family
from trainables.pretrained import weights_file
from trainables.train import train

CLASSES = 7


def built(model: str = "test_resnet", *, classes: int = CLASSES, **params: Any) -> nn.Module:
    torch.manual_seed(1)
    return load_family(model).build(trial_config({"model": model, "image_size": 32, **params}), classes)


def given(file: Path, model: str = "test_resnet", **params: Any) -> nn.Module:
    """The model with a file's weights, from another seed."""
    torch.manual_seed(2)
    config = trial_config(
        {"model": model, "image_size": 32, **params, "pretrained": True, "weights": str(file)}
    )
    return load_family(model).build(config, CLASSES)


def same(first: nn.Module, second: nn.Module, *, but: str = "-") -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(torch.equal(a, b) for (name, a), (_, b) in pairs if not name.startswith(but))


@pytest.mark.parametrize("name", ["w.safetensors", "test_resnet.safetensors", "w.pth", "w.bin", "folder"])
def test_weights_come_from_a_file_or_a_folder(tmp_path: Path, name: str) -> None:
    model = built()
    if name == "folder":
        save_file(model.state_dict(), tmp_path / "test_resnet.safetensors")
    elif name.endswith(".safetensors"):
        save_file(model.state_dict(), tmp_path / name)
    else:
        torch.save(model.state_dict(), tmp_path / name)
    assert same(given(tmp_path if name == "folder" else tmp_path / name), model)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_efficientnet", "convnet"])
def test_a_head_of_another_number_of_classes_is_left_fresh(tmp_path: Path, model: str) -> None:
    trained = built(model, classes=11)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    loaded = given(tmp_path / "w.safetensors", model)
    head = {"test_resnet": "fc.", "test_efficientnet": "classifier."}.get(model, "head.")
    assert same(loaded, trained, but=head)
    assert loaded(torch.zeros(1, 3, 32, 32)).shape == (1, CLASSES)


@pytest.mark.parametrize("key", ["state_dict", "model", "state_dict_ema"])
def test_a_training_scripts_checkpoint_is_unwrapped(tmp_path: Path, key: str) -> None:
    model = built()
    wrapped = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({key: wrapped, "epoch": 3}, tmp_path / "w.pth")
    assert same(given(tmp_path / "w.pth"), model)


def test_positions_of_a_vision_transformer_are_resized(tmp_path: Path) -> None:
    model = built("vit_tiny_patch16_224", image_size=64)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    assert same(given(tmp_path / "w.safetensors", "vit_tiny_patch16_224"), model, but="pos_embed")


def test_another_models_weights_are_explained(tmp_path: Path) -> None:
    save_file(built("test_efficientnet").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"does not hold the weights of test_resnet.*missing: conv1"):
        given(tmp_path / "w.safetensors")


def test_a_wider_networks_weights_are_explained(tmp_path: Path) -> None:
    save_file(built("convnet", width=8).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"\d of another shape: \S+ \(8,.*\) instead of \(4,"):
        given(tmp_path / "w.safetensors", "convnet", width=4)


def test_a_deeper_models_weights_are_not_taken_in_part(tmp_path: Path) -> None:
    save_file(built("resnet34").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="of no use: layer1"):
        given(tmp_path / "w.safetensors", "resnet18")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this code must not run",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": Evil()}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pth: these weights cannot be read"):
        given(tmp_path / "w.pth")
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_cut_file_is_said(tmp_path: Path, name: str) -> None:
    save_file(built().state_dict(), tmp_path / "whole")
    (tmp_path / name).write_bytes((tmp_path / "whole").read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read"):
        given(tmp_path / name)


def test_a_file_of_something_else_is_said(tmp_path: Path) -> None:
    torch.save({"state_dict": {"lr": 0.1}}, tmp_path / "w.pth")
    with pytest.raises(DataError, match="something else than weights"):
        given(tmp_path / "w.pth")


def test_weights_that_are_not_there_are_said_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"weights .*nowhere do not exist"):
        quick(tmp_path, pretrained=True, weights=str(tmp_path / "nowhere"))
    (tmp_path / "other.pth").touch()
    config = TrialConfig(model="resnet18.a1_in1k", pretrained=True, weights=str(tmp_path))
    with pytest.raises(UsageError, match=r"has no resnet18\.a1_in1k\.safetensors; it has other\.pth"):
        weights_file(config)
    (tmp_path / "resnet18.safetensors").touch()
    assert weights_file(config) == tmp_path / "resnet18.safetensors"


def test_weights_without_pretrained_are_a_contradiction(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="starts from scratch"):
        quick(tmp_path, weights="w.safetensors")


def test_our_network_has_no_published_weights() -> None:
    with pytest.raises(UsageError, match="Nobody publishes pretrained weights of convnet") as error:
        built("convnet", pretrained=True)
    assert "--weights" in str(error.value)


def test_a_trial_goes_on_from_an_earlier_ones_weights_and_records_the_file(tmp_path: Path) -> None:
    first = quick(tmp_path / "first", epochs=6)
    file = tmp_path / "first" / "weights.safetensors"
    config = trial_config({**QUICK, "epochs": 1, "lr": 1e-6, "pretrained": True, "weights": str(file)})
    again = train(task(), store(), config, Listener(), folder=tmp_path / "again")
    assert again.value == pytest.approx(first.value, abs=0.1)
    recorded = json.loads((tmp_path / "again" / "execution.json").read_text())["weights"]
    assert recorded == {"file": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
