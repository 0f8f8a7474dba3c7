"""Masks of defects that most pictures do not have: crops that favour them, and losses that do."""

from typing import Any

SMALL = ["fpn", "deeplab"]
LARGE = ["unet", "fpn", "deeplab"]
SMALL_ENCODERS = ["test_resnet", "mobilenetv3_small_050"]
LARGE_ENCODERS = ["resnet18", "resnet34", "efficientnet_b0", "regnety_008"]
LOSSES = ["bce_batchdice", "bce_lovasz"]
"""The Dice of single pictures, most of which lack the class, teaches to find nothing of the rare ones."""


def space(trial: Any) -> dict[str, Any]:
    on_cpu = trial.user_attrs["device"] == "cpu"
    model = trial.suggest_categorical("model", SMALL if on_cpu else LARGE)
    params = {
        "model": model,
        "optimizer": "adamw",
        "lr": trial.suggest_float("lr", *((2e-3, 1e-2) if on_cpu else (3e-4, 3e-3)), log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 1e-1, log=True),
        "schedule": "onecycle",
        "loss": trial.suggest_categorical("loss", LOSSES),
        "favour": trial.suggest_float("favour", 0.5, 0.9),
        "flip": True,
        "vertical_flip": True,
        "color": trial.suggest_float("color", 0.0, 0.3),
        "crop": trial.suggest_float("crop", 0.0, 0.3),
    }
    return params | (_small(trial, model) if on_cpu else _large(trial, model))


def _small(trial: Any, model: str) -> dict[str, Any]:
    """A minute or two of one core: enough to tell settings apart; the finals are longer."""
    params = {"image_size": 128, "batch_size": 8, "patches": 1, "epochs": 14, "tta": "flip"}
    encoder = trial.suggest_categorical("encoder", SMALL_ENCODERS)
    return params | {"encoder": encoder, "width": 32 if model == "fpn" else 64}


def _large(trial: Any, model: str) -> dict[str, Any]:
    params = {"batch_size": 16, "patches": 4, "epochs": 40, "tta": "eight", "ema_decay": 0.998}
    widths = {"unet": [16, 32], "fpn": [128, 256], "deeplab": [128, 256]}
    return params | {
        "image_size": trial.suggest_categorical("image_size", [256, 384]),
        "encoder": trial.suggest_categorical("encoder", LARGE_ENCODERS),
        "width": trial.suggest_categorical(f"{model} width", widths[model]),
    }
