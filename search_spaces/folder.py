"""Any labelled pictures, from scratch: small networks on a CPU, larger ones on a GPU."""

from typing import Any

SMALL = ["convnet", "resnet10t"]
LARGE = ["convnet", "resnet18", "resnet50", "convnext_atto", "efficientnet_b0"]


def space(trial: Any) -> dict[str, Any]:
    on_cpu = trial.user_attrs["device"] == "cpu"
    tuned = bool(trial.user_attrs.get("weights"))
    model = trial.suggest_categorical("model", LARGE[1:] if tuned else SMALL if on_cpu else LARGE)
    params = {
        "model": model,
        "pretrained": tuned,
        "image_size": _image_size(trial, on_cpu=on_cpu),
        "epochs": 16 if on_cpu else 60,
        "batch_size": 32,
        "optimizer": "adamw",
        "lr": trial.suggest_float("lr", *((1e-4, 2e-3) if tuned else (1e-3, 8e-3)), log=True),
        "weight_decay": trial.suggest_float("weight_decay", 0.005, 0.2, log=True),
        "schedule": trial.suggest_categorical("schedule", ["onecycle", "cosine"]),
        "warmup_epochs": 1.0,
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.15),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3),
        "balance": trial.suggest_categorical("balance", [0.0, 0.5]),
        "mixup": trial.suggest_categorical("mixup", [0.0, 0.2]),
        **_augmentation(trial),
    }
    return params | _convnet(trial) if model == "convnet" else params


def _image_size(trial: Any, *, on_cpu: bool) -> int:
    """The pictures' own size as far as the device affords it, and no less than the networks need."""
    return int(min(max(trial.user_attrs["pixels"], 32), 80 if on_cpu else 160))


def _augmentation(trial: Any) -> dict[str, Any]:
    """Whether pictures may be mirrored is the data's secret: letters may not, so the search finds out."""
    return {
        "flip": trial.suggest_categorical("flip", [True, False]),
        "crop": trial.suggest_float("crop", 0.05, 0.5),
        "rotation": trial.suggest_float("rotation", 0.0, 15.0),
        "color": trial.suggest_float("color", 0.0, 0.4),
        "erasing": trial.suggest_float("erasing", 0.0, 0.2),
    }


def _convnet(trial: Any) -> dict[str, Any]:
    return {
        "depth": trial.suggest_int("depth", 4, 7),
        "width": trial.suggest_categorical("width", [24, 32]),
        "pooling": trial.suggest_categorical("pooling", ["max", "avg", "blur"]),
        "global_pool": trial.suggest_categorical("global_pool", ["avg", "avgmax"]),
    }
