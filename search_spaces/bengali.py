"""Handwriting: no flips, for a mirrored letter is another; small rotations and shifts."""

from typing import Any

SMALL = ["resnet10t", "convnet"]
LARGE = ["resnet18", "resnet34", "efficientnet_b0", "seresnext26t_32x4d"]
MIXED = {"mixup": 0.2, "cutmix": 1.0, "mix_probability": 0.5}
"""Held fixed: it costs a short trial a little and saves a long one, as finals are, from learning by heart."""


def space(trial: Any) -> dict[str, Any]:
    on_cpu = trial.user_attrs["device"] == "cpu"
    model = trial.suggest_categorical("model", SMALL if on_cpu else LARGE)
    params = {
        "model": model,
        "image_size": trial.suggest_categorical("image_size", [48, 64] if on_cpu else [96, 128]),
        "epochs": 24 if on_cpu else 60,
        "optimizer": "adamw",
        "lr": trial.suggest_float("lr", 1e-3, 8e-3, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 1e-1, log=True),
        "batch_size": 32 if on_cpu else 128,
        "schedule": "onecycle",
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.1),
        "crop": trial.suggest_float("crop", 0.1, 0.35),
        "rotation": trial.suggest_float("rotation", 4.0, 15.0),
        "translate": trial.suggest_float("translate", 0.03, 0.12),
        **MIXED,
    }
    return params | (_convnet(trial) if model == "convnet" else {})


def _convnet(trial: Any) -> dict[str, Any]:
    return {"depth": trial.suggest_int("depth", 4, 6), "width": trial.suggest_categorical("width", [24, 32])}
