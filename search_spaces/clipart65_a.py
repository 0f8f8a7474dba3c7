"""Clip art, model A: a ResNet-50 fine-tuned from ImageNet weights."""

from typing import Any


def space(trial: Any) -> dict[str, Any]:
    on_cpu = trial.user_attrs["device"] == "cpu"
    optimizer = trial.suggest_categorical("optimizer", ["adamw", "sgd"])
    rates, decays = ((5e-5, 1e-3), (0.01, 0.2)) if optimizer == "adamw" else ((3e-3, 5e-2), (1e-5, 1e-3))
    return {
        "model": "resnet50",
        "pretrained": True,
        "image_size": 96 if on_cpu else 224,
        "epochs": 5 if on_cpu else 20,
        "batch_size": 32 if on_cpu else 64,
        "optimizer": optimizer,
        "lr": trial.suggest_float(f"lr_{optimizer}", *rates, log=True),
        "weight_decay": trial.suggest_float(f"weight_decay_{optimizer}", *decays, log=True),
        "layer_decay": trial.suggest_float("layer_decay", 0.6, 1.0),
        "head_epochs": trial.suggest_int("head_epochs", 0, 1 if on_cpu else 3),
        "schedule": "cosine",
        "warmup_epochs": 0.5,
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.15),
        "mixup": trial.suggest_categorical("mixup", [0.0, 0.2]),
        "flip": True,
        "crop": trial.suggest_float("crop", 0.1, 0.6),
        "rotation": trial.suggest_float("rotation", 0.0, 15.0),
        "color": trial.suggest_float("color", 0.0, 0.3),
        "tta": "flip",
    }
