"""The ranges that MyGO's organisers suggest; a CPU gets those of them that it can train in minutes.

Of the pretrained networks those of 5 to 150 MB: a VGG, as timm has it, takes 515.
"""

from typing import Any

TUNED = ["resnet18", "resnet34", "resnet50"]
BATCHES = [8, 16, 32, 64, 128]


def space(trial: Any) -> dict[str, Any]:
    """Pretrained networks on a GPU and where weights are given, else our own from scratch."""
    on_cpu = trial.user_attrs["device"] == "cpu"
    families = TUNED[:2] if on_cpu else TUNED
    tuned = not on_cpu or bool(trial.user_attrs.get("weights"))
    model = trial.suggest_categorical("model", ["convnet", *families] if tuned else ["convnet"])
    params = {
        "model": model,
        "image_size": 64 if on_cpu else 160,
        "epochs": 20 if on_cpu else trial.suggest_int("epochs", 10, 100, log=True),
        "batch_size": trial.suggest_categorical("batch_size", BATCHES[1:3] if on_cpu else BATCHES),
        "optimizer": trial.suggest_categorical("optimizer", ["adam", "adamw", "sgd"]),
        "lr": trial.suggest_float("lr", 3e-4 if on_cpu else 1e-5, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-3, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "tta": trial.suggest_categorical("tta", ["none", "flip"]),
        **_augmentation(trial),
    }
    return params | (_convnet(trial, on_cpu=on_cpu) if model == "convnet" else {"pretrained": True})


def _augmentation(trial: Any) -> dict[str, Any]:
    return {
        "flip": True,
        "crop": trial.suggest_float("crop", 0.0, 0.5),
        "rotation": trial.suggest_float("rotation", 0.0, 15.0),
        "color": trial.suggest_float("color", 0.0, 0.3),
    }


def _convnet(trial: Any, *, on_cpu: bool) -> dict[str, Any]:
    """Wide and deep enough for most draws to be of 5 MB and more."""
    return {
        "depth": trial.suggest_int("depth", 6, 8 if on_cpu else 16),
        "width": trial.suggest_categorical("width", [32, 40] if on_cpu else [32, 48, 64, 96]),
        "kernel_size": 3 if on_cpu else trial.suggest_categorical("kernel_size", [3, 5, 7]),
        "stem_stride": 2 if on_cpu else trial.suggest_categorical("stem_stride", [1, 2, 4]),
        "pooling": trial.suggest_categorical("pooling", ["max", "avg", "min"]),
    }
