"""Boxes around many small objects: a small one-stage detector on a CPU, torchvision's families on a GPU."""

from typing import Any

LARGE = ["centres", "fcos", "retinanet", "faster_rcnn"]
BACKBONES = ["resnet18", "resnet34", "regnety_008", "convnext_atto"]
USUAL = 0.2
"""Side of a usual object as a share of the picture's shorter one: from there the search goes on."""


def space(trial: Any) -> dict[str, Any]:
    on_cpu = trial.user_attrs["device"] == "cpu"
    size = trial.suggest_categorical("image_size", [160, 192] if on_cpu else [512, 640])
    model = "centres" if on_cpu else trial.suggest_categorical("model", LARGE)
    share = USUAL if on_cpu else trial.suggest_float("object_share", 0.05, 0.2, log=True)
    shared = {
        "model": model,
        "image_size": size,
        "batch_size": 8,
        "schedule": "onecycle",
        "optimizer": "adamw",
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 1e-1, log=True),
        "clip_grad": 10.0,
        "flip": True,
        "vertical_flip": True,
        "crop": trial.suggest_float("crop", 0.1, 0.6),
        "color": trial.suggest_float("color", 0.0, 0.4),
        "tta": "eight",
        "nms": trial.suggest_float("nms", 0.45, 0.65),
        "object_size": round(size * share),
    }
    own = _centres(trial, on_cpu) if model == "centres" else _pyramid(trial, model)
    return {**shared, **own}


def _centres(trial: Any, on_cpu: bool) -> dict[str, Any]:
    return {
        "epochs": 16 if on_cpu else 80,
        "lr": trial.suggest_float("lr", 1e-3, 6e-3, log=True),
        "width": trial.suggest_categorical("width", [16, 24] if on_cpu else [32, 48]),
        "depth": 1 if on_cpu else trial.suggest_int("depth", 1, 3),
        "stride": 8,
        "context": trial.suggest_int("context", 1, 2),
        "radius": trial.suggest_float("radius", 1.0, 2.0),
        "box_weight": trial.suggest_float("box_weight", 1.0, 4.0),
    }


def _pyramid(trial: Any, model: str) -> dict[str, Any]:
    sampling = {"proposals": 1000, "sampled": 256, "representation": 512} if model == "faster_rcnn" else {}
    return {
        "epochs": 60,
        "warmup_epochs": 2.0,
        "lr": trial.suggest_float("lr_pyramid", 2e-4, 2e-3, log=True),
        "ema_decay": 0.999,
        "backbone": trial.suggest_categorical("backbone", BACKBONES),
        "channels": 256 if model == "faster_rcnn" else 128,
        "finest": 8,
        "levels": 3,
        **sampling,
    }
