"""Ordered grades of gray medical pictures: how the order is learned is a choice of the trial."""

from typing import Any

SMALL = ["resnet10t", "convnet"]
LARGE = ["resnet18", "resnet34", "efficientnet_b0", "convnext_atto"]


def space(trial: Any) -> dict[str, Any]:
    on_cpu = trial.user_attrs["device"] == "cpu"
    model = trial.suggest_categorical("model", SMALL if on_cpu else LARGE)
    params = {
        "model": model,
        "image_size": int(min(max(trial.user_attrs["pixels"], 64), 80 if on_cpu else 256)),
        "epochs": 15 if on_cpu else 60,
        "ordinal": trial.suggest_categorical("ordinal", ["classes", "regression", "cumulative"]),
        "optimizer": "adamw",
        "lr": trial.suggest_float("lr", 1e-3, 6e-3, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 1e-1, log=True),
        "batch_size": 32,
        "schedule": "onecycle",
        "flip": True,
        "crop": trial.suggest_float("crop", 0.0, 0.2),
        "rotation": trial.suggest_float("rotation", 0.0, 12.0),
        "translate": trial.suggest_float("translate", 0.0, 0.08),
        "color": trial.suggest_float("color", 0.0, 0.4),
        "tta": "flip",
    }
    return params | (_convnet(trial) if model == "convnet" else {})


def _convnet(trial: Any) -> dict[str, Any]:
    return {"depth": trial.suggest_int("depth", 4, 6), "width": trial.suggest_categorical("width", [16, 24])}
