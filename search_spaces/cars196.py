"""Photos of car models: few images a class, and details that tell them apart."""

from typing import Any

LARGE = ["resnet50", "resnetv2_50", "convnext_tiny", "efficientnet_b2"]


VIEWS = {"tta": "crops", "tta_plain": 0.2}
"""The whole picture and five crops of it, all counting about alike."""


def space(trial: Any) -> dict[str, Any]:
    on_cpu = trial.user_attrs["device"] == "cpu"
    return _scratch(trial) if on_cpu and not trial.user_attrs.get("weights") else _fine_tuned(trial, on_cpu)


def _scratch(trial: Any) -> dict[str, Any]:
    """Our own network, for a CPU: an epoch costs half of that of a ResNet-10."""
    return {
        "model": "convnet",
        "image_size": 96,
        "epochs": 20,
        "batch_size": 32,
        "optimizer": "adamw",
        "lr": trial.suggest_float("lr", 1.5e-3, 8e-3, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 0.01, 0.2, log=True),
        "schedule": "onecycle",
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.15),
        "dropout": trial.suggest_float("dropout", 0.0, 0.2),
        "mixup": 0.2,
        **VIEWS,
        "translate": trial.suggest_float("translate", 0.0, 0.12),
        **_augmentation(trial, strength=0.5),
        "depth": trial.suggest_int("depth", 4, 7),
        "width": trial.suggest_categorical("width", [24, 32]),
        "pooling": trial.suggest_categorical("pooling", ["max", "blur"]),
        "global_pool": trial.suggest_categorical("global_pool", ["avg", "avgmax"]),
    }


def _fine_tuned(trial: Any, on_cpu: bool) -> dict[str, Any]:
    """ImageNet networks with slower first layers, at the size that the device affords."""
    return {
        "model": trial.suggest_categorical("model", LARGE),
        "pretrained": True,
        "image_size": 128 if on_cpu else trial.suggest_categorical("image_size", [224, 288]),
        "epochs": 8 if on_cpu else 30,
        "batch_size": trial.suggest_categorical("batch_size", [32, 64]),
        "optimizer": "adamw",
        "lr": trial.suggest_float("lr_tuned", 1e-4, 2e-3, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 0.01, 0.2, log=True),
        "layer_decay": trial.suggest_float("layer_decay", 0.6, 1.0),
        "head_epochs": trial.suggest_int("head_epochs", 0, 2),
        "warmup_epochs": 1.0,
        "schedule": "cosine",
        "label_smoothing": 0.1,
        "mixup": trial.suggest_categorical("mixup", [0.0, 0.2]),
        "cutmix": trial.suggest_categorical("cutmix", [0.0, 1.0]),
        "tta": "flip",
        **_augmentation(trial, strength=1.0),
    }


def _augmentation(trial: Any, *, strength: float) -> dict[str, Any]:
    """A network from scratch learns more from a weak one in a short time."""
    return {
        "flip": True,
        "crop": trial.suggest_float("crop", 0.0, 0.6 * strength),
        "rotation": trial.suggest_float("rotation", 0.0, 12.0),
        "color": trial.suggest_float("color", 0.0, 0.4 * strength),
        "erasing": trial.suggest_float("erasing", 0.0, 0.3 * strength),
    }
