"""Clip art, model B: a ResNet-50 from scratch."""

from typing import Any


def space(trial: Any) -> dict[str, Any]:
    on_cpu = trial.user_attrs["device"] == "cpu"
    optimizer = trial.suggest_categorical("optimizer", ["adamw", "sgd"])
    rates, decays = ((5e-4, 4e-3), (0.02, 0.3)) if optimizer == "adamw" else ((0.02, 0.2), (1e-4, 2e-3))
    return {
        "model": "resnet50",
        "image_size": 64 if on_cpu else trial.suggest_categorical("image_size", [128, 160]),
        "epochs": 20 if on_cpu else 100,
        "batch_size": 32 if on_cpu else 64,
        "optimizer": optimizer,
        "lr": trial.suggest_float(f"lr_{optimizer}", *rates, log=True),
        "weight_decay": trial.suggest_float(f"weight_decay_{optimizer}", *decays, log=True),
        "schedule": "onecycle",
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.15),
        "drop_path": trial.suggest_float("drop_path", 0.0, 0.2),
        "mixup": trial.suggest_categorical("mixup", [0.0, 0.2]),
        "flip": True,
        "crop": trial.suggest_float("crop", 0.1, 0.7),
        "rotation": trial.suggest_float("rotation", 0.0, 20.0),
        "color": trial.suggest_float("color", 0.0, 0.4),
        "erasing": trial.suggest_float("erasing", 0.0, 0.3),
        "tta": "flip",
    }
