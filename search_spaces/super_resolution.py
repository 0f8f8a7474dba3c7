"""Super-resolution from scratch: shallow networks and small patches on a CPU, deep and large on a GPU."""

from typing import Any

SMALL = ["fsrcnn", "edsr", "vdsr"]
LARGE = ["edsr", "vdsr"]
ACTIVATIONS = ["silu", "gelu", "prelu"]


def space(trial: Any) -> dict[str, Any]:
    on_cpu = trial.user_attrs["device"] == "cpu"
    model = trial.suggest_categorical("model", SMALL if on_cpu else LARGE)
    params = {
        "model": model,
        **(_short(trial) if on_cpu else _long(trial)),
        "loss": trial.suggest_categorical("loss", ["l1", "charbonnier", "l2"]),
        "optimizer": "adamw",
        "weight_decay": 1e-4,
        "schedule": "onecycle",
        "flip": True,
        "vertical_flip": True,
        "tta": "eight",
    }
    return params | (SHAPES[model](trial, on_cpu) if model in SHAPES else {})


def _short(trial: Any) -> dict[str, Any]:
    """One to three minutes of one core for 91 small pictures: many small steps learn more than few large."""
    return {
        "epochs": 20,
        "warmup_epochs": 2,
        "patches": 40,
        "image_size": trial.suggest_categorical("image_size", [12, 16]),
        "batch_size": trial.suggest_categorical("batch_size", [8, 16]),
    }


def _long(trial: Any) -> dict[str, Any]:
    return {
        "epochs": 60,
        "patches": 64,
        "image_size": trial.suggest_categorical("image_size", [32, 48]),
        "batch_size": 16,
        "ema_decay": 0.999,
    }


def _fsrcnn(trial: Any, on_cpu: bool) -> dict[str, Any]:
    return {
        "depth": trial.suggest_int("fsrcnn_depth", 4, 6),
        "width": 32 if on_cpu else 64,
        "narrow": trial.suggest_categorical("narrow", [16, 20, 24]),
        "lr": trial.suggest_float("fsrcnn_lr", *((2e-3, 6e-3) if on_cpu else (5e-4, 2e-3)), log=True),
        "activation": trial.suggest_categorical("activation", ACTIVATIONS),
    }


def _edsr(trial: Any, on_cpu: bool) -> dict[str, Any]:
    """Its shortcuts let a rate of 2e-3 and more carry the features away: it then hardly beats bicubic."""
    return {
        "depth": trial.suggest_int("edsr_depth", *((2, 4) if on_cpu else (8, 20))),
        "width": trial.suggest_categorical("edsr_width", [24, 32] if on_cpu else [64, 96]),
        "residual_scale": trial.suggest_float("residual_scale", 0.1, 1.0, log=True),
        "lr": trial.suggest_float("edsr_lr", *((4e-4, 1.5e-3) if on_cpu else (1e-4, 5e-4)), log=True),
        "activation": trial.suggest_categorical("activation", ACTIVATIONS),
    }


def _vdsr(trial: Any, on_cpu: bool) -> dict[str, Any]:
    return {
        "depth": trial.suggest_int("vdsr_depth", *((4, 8) if on_cpu else (10, 20))),
        "width": trial.suggest_categorical("vdsr_width", [24, 32] if on_cpu else [64, 96]),
        "lr": trial.suggest_float("vdsr_lr", *((1e-3, 3e-3) if on_cpu else (1e-4, 5e-4)), log=True),
        "activation": trial.suggest_categorical("activation", ACTIVATIONS),
    }


SHAPES = {"fsrcnn": _fsrcnn, "edsr": _edsr, "vdsr": _vdsr}
