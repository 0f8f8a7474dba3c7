"""Food photographs from scratch: small networks on a CPU, larger ones on a GPU."""

from typing import Any

SMALL = ["convnet", "test_resnet"]
MIXED = {"mixup": 0.2, "cutmix": 1.0, "mix_probability": 0.4}
"""Held fixed: it costs a short trial a little and saves a long one, as finals are, from learning by heart."""
GROWING = {"start_size": 0.5}
"""A training of as many multiplications runs 64 epochs instead of 46, and ends no worse."""
VIEWS = {"tta": "crops", "tta_plain": 0.2}
"""Five crops beside the whole picture: 2 to 3 points on 660 held-out pictures, six times the prediction."""
LARGE = ["convnet", "resnet18", "resnet34", "resnet50", "efficientnet_b0", "convnext_atto"]


def space(trial: Any) -> dict[str, Any]:
    on_cpu = trial.user_attrs["device"] == "cpu"
    model = trial.suggest_categorical("model", SMALL if on_cpu else LARGE)
    params = {
        "model": model,
        "image_size": _image_size(trial, on_cpu=on_cpu),
        "epochs": 16 if on_cpu else 80,
        **_training(trial),
        **_augmentation(trial),
        **MIXED,
        **(GROWING if on_cpu else {}),
        **VIEWS,
    }
    if model == "convnet":
        return params | _convnet(trial)
    return params | {"global_pool": trial.suggest_categorical("global_pool", ["avg", "avgmax"])}


def _image_size(trial: Any, *, on_cpu: bool) -> int:
    """The pictures' own size as far as the device affords it, and no less than the networks need."""
    return int(min(max(trial.user_attrs["pixels"], 64), 64 if on_cpu else 160))


def _training(trial: Any) -> dict[str, Any]:
    optimizer = trial.suggest_categorical("optimizer", ["adamw", "sgd"])
    rates, decays = ((1e-3, 8e-3), (1e-3, 1e-1)) if optimizer == "adamw" else ((0.02, 0.2), (1e-4, 2e-3))
    return {
        "optimizer": optimizer,
        "lr": trial.suggest_float(f"lr_{optimizer}", *rates, log=True),
        "weight_decay": trial.suggest_float(f"weight_decay_{optimizer}", *decays, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [32, 64]),
        "schedule": trial.suggest_categorical("schedule", ["onecycle", "cosine"]),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.1),
        "dropout": trial.suggest_float("dropout", 0.0, 0.2),
    }


def _augmentation(trial: Any) -> dict[str, Any]:
    """A short training learns more from a weak one, and would choose it; the finals are long, and learn the
    pictures by heart then (80 % of them right in training after 60 epochs, 34 % in validation)."""
    return {
        "flip": True,
        "crop": trial.suggest_float("crop", 0.4, 0.75),
        "rotation": trial.suggest_float("rotation", 0.0, 15.0),
        "color": trial.suggest_float("color", 0.15, 0.4),
        "erasing": trial.suggest_float("erasing", 0.0, 0.25),
    }


def _convnet(trial: Any) -> dict[str, Any]:
    return {
        "depth": trial.suggest_int("depth", 3, 6),
        "width": trial.suggest_categorical("width", [16, 24, 32]),
        "pooling": trial.suggest_categorical("pooling", ["max", "blur"]),
        "global_pool": trial.suggest_categorical("global_pool", ["avg", "avgmax"]),
    }
