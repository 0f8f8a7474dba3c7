"""Training pictures as a trial saw them: random views, made by what made them in training."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from trainables.dense_trainer import DenseTrainer
from trainables.mixing import Mixer
from trainables.trainers import ClassTrainer

TRIED = 4
"""So many times the views asked for are drawn, to find as many that differ."""


Shown = ClassTrainer | DenseTrainer
"""Every trainer that there is."""


def training_rows(trainer: Shown, count: int) -> list[int]:
    """Up to `count` rows of the training part, spread over it."""
    rows = trainer.parts["train"].places
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [int(row) for row in rows[places]]


def whole_picture(trainer: Shown, row: int) -> np.ndarray:
    """The training picture itself as the store has it, uint8 [H, W, 3]."""
    picture: np.ndarray = np.asarray(trainer.parts["train"].images[row])
    return picture


def different_views(trainer: Shown, row: int, count: int) -> Tensor:
    """Up to `count` views of one training picture, normalised float32 [n, 3, H, W], no two alike.

    Drawn as the trial's configuration says, by the code that it trained with.
    """
    drawn = _views(trainer, [row] * TRIED * count)
    _, first = np.unique(drawn.flatten(1).numpy(), axis=0, return_index=True)
    return drawn[np.sort(first)[:count]]


def mixed_views(trainer: Shown, rows: list[int]) -> Tensor | None:
    """Views of training pictures, each mixed with the one before it; None where the trial mixes nothing."""
    if isinstance(trainer, DenseTrainer) or not trainer.learner.mixer.asked:
        return None
    always = dataclasses.replace(trainer.learner.config, mix_probability=1.0)
    mixer = Mixer(always, trainer.learner.mixer.generator)
    mixed, _ = mixer(_views(trainer, rows), torch.zeros(len(rows), 1, dtype=torch.int64))
    return mixed


def _views(trainer: Shown, rows: list[int]) -> Tensor:
    if isinstance(trainer, ClassTrainer):
        return trainer.learner.augment.batch(trainer.learner.feed, torch.tensor(rows)).cpu()
    views, _ = trainer.kind.batch(trainer.train, rows, trainer.config, trainer.learner.rng)
    return views
