"""Food photographs from scratch: networks of our own and small timm ones; larger ones on a GPU."""

from typing import Any

SMALL = ["convnet", "resnet10t", "resnet14t", "mobilenetv3_small_050"]
LARGE = ["convnet", "resnet18", "resnet34", "resnet50", "efficientnet_b0", "convnext_atto"]


def space(trial: Any) -> dict[str, Any]:
    on_cpu = trial.user_attrs["device"] == "cpu"
    model = trial.suggest_categorical("model", SMALL if on_cpu else LARGE)
    params = {**_training(trial), "model": model, "image_size": _image_size(trial, on_cpu=on_cpu)}
    if model == "convnet":
        return params | _convnet(trial)
    return params | {"global_pool": trial.suggest_categorical("global_pool", ["avg", "avgmax"])}


def _image_size(trial: Any, *, on_cpu: bool) -> int:
    """The pictures' own size as far as the device affords it, and no less than the networks need."""
    return int(min(max(trial.user_attrs["pixels"], 64), 64 if on_cpu else 160))


def _convnet(trial: Any) -> dict[str, Any]:
    return {
        "depth": trial.suggest_int("depth", 3, 4),
        "width": trial.suggest_categorical("width", [16, 24, 32]),
        "kernel_size": trial.suggest_categorical("kernel_size", [3, 5]),
        "residual": trial.suggest_categorical("residual", [False, True]),
        "pooling": trial.suggest_categorical("pooling", ["max", "avg", "blur"]),
        "norm": trial.suggest_categorical("norm", ["batch", "group"]),
    }


def _training(trial: Any) -> dict[str, Any]:
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adamw"])
    lowest, highest = (0.01, 0.3) if optimizer == "sgd" else (5e-4, 1e-2)
    return {
        "optimizer": optimizer,
        "lr": trial.suggest_float(f"lr_{optimizer}", lowest, highest, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128]),
        "schedule": trial.suggest_categorical("schedule", ["cosine", "onecycle"]),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "flip": True,
        "crop": trial.suggest_float("crop", 0.1, 0.7),
        "rotation": trial.suggest_float("rotation", 0.0, 20.0),
        "color": trial.suggest_float("color", 0.0, 0.5),
        "erasing": trial.suggest_float("erasing", 0.0, 0.3),
    }
