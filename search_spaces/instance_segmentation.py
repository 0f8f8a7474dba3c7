"""A mask around each object: a small one-stage network on a CPU, Mask R-CNN beside it on a GPU."""

from typing import Any

LARGE = ["centre_masks", "mask_rcnn"]
BACKBONES = ["resnet18", "resnet34", "regnety_008", "convnext_atto"]
USUAL = 0.35
"""Side of a usual object as a share of the picture's shorter one: from there the search goes on."""


def space(trial: Any) -> dict[str, Any]:
    on_cpu = trial.user_attrs["device"] == "cpu"
    size = trial.suggest_categorical("image_size", [192, 224] if on_cpu else [384, 512])
    model = "centre_masks" if on_cpu else trial.suggest_categorical("model", LARGE)
    shared = {
        "model": model,
        "image_size": size,
        "batch_size": 4 if on_cpu else 8,
        "schedule": "onecycle",
        "optimizer": "adamw",
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 1e-1, log=True),
        "clip_grad": 10.0,
        "flip": True,
        "crop": trial.suggest_float("crop", 0.2, 0.7),
        "favour": trial.suggest_float("favour", 0.3, 0.8),
        "color": trial.suggest_float("color", 0.0, 0.4),
        "tta": "flip",
        "nms": trial.suggest_float("nms", 0.45, 0.65),
        "object_size": round(size * USUAL),
    }
    own = _centres(trial, on_cpu) if model == "centre_masks" else _mask_rcnn(trial)
    return {**shared, **own}


def _centres(trial: Any, on_cpu: bool) -> dict[str, Any]:
    return {
        "epochs": 25 if on_cpu else 100,
        "lr": trial.suggest_float("lr", 1e-3, 5e-3, log=True),
        "width": trial.suggest_categorical("width", [16, 24] if on_cpu else [32, 48]),
        "depth": 1 if on_cpu else trial.suggest_int("depth", 1, 3),
        "stride": 8,
        "context": 2,
        "radius": trial.suggest_float("radius", 1.0, 2.5),
        "mask_width": 32 if on_cpu else 128,
        "mask_weight": trial.suggest_float("mask_weight", 0.5, 2.0),
    }


def _mask_rcnn(trial: Any) -> dict[str, Any]:
    return {
        "epochs": 60,
        "warmup_epochs": 2.0,
        "lr": trial.suggest_float("lr_pyramid", 2e-4, 2e-3, log=True),
        "ema_decay": 0.999,
        "backbone": trial.suggest_categorical("backbone", BACKBONES),
        "channels": 256,
        "finest": 4,
        "levels": 4,
        "proposals": 500,
        "sampled": 256,
        "representation": 512,
        "mask_width": 128,
        "mask_depth": 4,
    }
