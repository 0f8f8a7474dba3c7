"""Clip art, model C: our own network from scratch, where both accuracy and computing cost count."""

from typing import Any


def space(trial: Any) -> dict[str, Any]:
    on_cpu = trial.user_attrs["device"] == "cpu"
    optimizer = trial.suggest_categorical("optimizer", ["adamw", "sgd"])
    rates, decays = ((1.5e-3, 1e-2), (0.01, 0.1)) if optimizer == "adamw" else ((0.03, 0.2), (2e-4, 2e-3))
    return {
        "model": "convnet",
        "image_size": 64 if on_cpu else trial.suggest_categorical("image_size", [64, 96, 128]),
        "epochs": 16 if on_cpu else 100,
        "batch_size": 32 if on_cpu else 64,
        "optimizer": optimizer,
        "lr": trial.suggest_float(f"lr_{optimizer}", *rates, log=True),
        "weight_decay": trial.suggest_float(f"weight_decay_{optimizer}", *decays, log=True),
        "schedule": trial.suggest_categorical("schedule", ["onecycle", "cosine"]),
        "warmup_epochs": 1.0,
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.15),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3),
        "mixup": trial.suggest_categorical("mixup", [0.0, 0.2]),
        "tta": "flip",
        **_augmentation(trial),
        **_network(trial, on_cpu=on_cpu),
    }


def _augmentation(trial: Any) -> dict[str, Any]:
    return {
        "flip": True,
        "crop": trial.suggest_float("crop", 0.1, 0.6),
        "rotation": trial.suggest_float("rotation", 0.0, 20.0),
        "color": trial.suggest_float("color", 0.0, 0.4),
        "erasing": trial.suggest_float("erasing", 0.0, 0.3),
    }


def _network(trial: Any, *, on_cpu: bool) -> dict[str, Any]:
    """From 15 million multiply-accumulates an image to beyond the task's bound, where a trial is refused."""
    return {
        "depth": trial.suggest_int("depth", 4, 8),
        "width": trial.suggest_categorical("width", [16, 24, 32] if on_cpu else [16, 24, 32, 48]),
        "stem_stride": 2 if on_cpu else trial.suggest_categorical("stem_stride", [2, 4]),
        "pooling": trial.suggest_categorical("pooling", ["max", "avg", "blur"]),
        "global_pool": trial.suggest_categorical("global_pool", ["avg", "avgmax"]),
        "activation": trial.suggest_categorical("activation", ["relu", "silu"]),
        "init": trial.suggest_categorical("init", ["kaiming", "orthogonal"]),
    }
