"""Small networks of our own for 8 px digits, on a CPU, in seconds a trial."""

from typing import Any


def space(trial: Any) -> dict[str, Any]:
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adamw"])
    lowest, highest = (0.02, 0.5) if optimizer == "sgd" else (1e-3, 2e-2)
    return {
        "model": "convnet",
        "depth": trial.suggest_int("depth", 2, 3),
        "width": trial.suggest_categorical("width", [16, 24, 32]),
        "residual": trial.suggest_categorical("residual", [False, True]),
        "pooling": trial.suggest_categorical("pooling", ["max", "avg"]),
        "norm": trial.suggest_categorical("norm", ["batch", "group", "none"]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.4),
        "optimizer": optimizer,
        "lr": trial.suggest_float(f"lr_{optimizer}", lowest, highest, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128]),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.15),
        "schedule": trial.suggest_categorical("schedule", ["cosine", "onecycle"]),
        "rotation": trial.suggest_float("rotation", 0.0, 15.0),
        "translate": trial.suggest_float("translate", 0.0, 0.15),
    }
