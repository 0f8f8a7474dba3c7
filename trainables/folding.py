"""Train and validation part as one pool: cross-validation over it, or all of it to train on."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trainables import atomic, gathered
from trainables.config import WHOLE, TrialConfig
from trainables.errors import DataError, UsageError
from trainables.splits import folds
from trainables.store import Part, Store
from trainables.task import Splits

POOLED = ("train", "valid")


def folded(store: Store, config: TrialConfig) -> Mapping[str, Part]:
    """The parts that a trial sees; holdout and test are those of the store.

    With `config.folds` of two or more `train` and `valid` are rows of the pool, without a copy: valid is
    the fold `config.fold`, train all others; see `pool_ids` for the names. With `WHOLE` all of the pool is
    `train`, and the holdout stands in for `valid`: it may be watched, and must not choose the epoch.
    Raises UsageError for a fold that does not exist, DataError where `write_folds` was not called.
    """
    if not config.folds:
        return store.parts
    everything = pool(store)
    if config.folds == WHOLE:
        return {**store.parts, "train": everything, "valid": store.parts["holdout"]}
    if config.fold >= config.folds:
        raise UsageError(
            f"fold={config.fold} is not one of {config.folds}.", fix=f"Choose 0 to {config.folds - 1}."
        )
    place = read_folds(store, config.folds)
    return {
        **store.parts,
        "train": replace(everything, rows=np.flatnonzero(place != config.fold)),
        "valid": replace(everything, name="valid", rows=np.flatnonzero(place == config.fold)),
    }


def pool(store: Store) -> Part:
    """Train and valid as one part, in this order; where they lie side by side, a view of both.

    Raises DataError where one of them has no labels.
    """
    train, valid = (store.parts[name] for name in POOLED)
    return Part(
        name="train",
        ids=pool_ids(store),
        targets=pool_targets(store),
        images=train.images + valid.images
        if isinstance(train.images, tuple)
        else _joined(train.images, valid.images),
    )


def pool_targets(store: Store) -> Any:
    """Targets int64 [n, heads], or the truth, of the pool.

    Raises DataError where train or valid has no labels.
    """
    targets = [known for name in POOLED if (known := store.parts[name].targets) is not None]
    if len(targets) < len(POOLED):
        raise DataError("Without labels in train and valid there is no pool of the two.")
    joined = gathered.joined(targets)
    return joined if isinstance(joined, np.ndarray) else replace(joined, ids=pool_ids(store))


def pool_ids(store: Store) -> tuple[str, ...]:
    """`train/ID` and `valid/ID`: an id alone may name an image of each."""
    return tuple(f"{name}/{id}" for name in POOLED for id in store.parts[name].ids)


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Both, one after the other: a read-only view where they are neighbours in memory, else a copy."""
    start = first.__array_interface__["data"][0]
    if start + first.nbytes != second.__array_interface__["data"][0]:
        return np.concatenate([first, second])
    shape = (len(first) + len(second), *first.shape[1:])
    view: np.ndarray = np.lib.stride_tricks.as_strided(first, shape, first.strides, writeable=False)
    return view


def write_folds(store: Store, splits: Splits, k: int) -> None:
    """Deal the pool's images into `k` folds and keep that in the store, for every trial alike.

    See `trainables.splits.folds`: the same data gives the same folds. Raises what that does, and DataError
    when the disk is full.
    """
    path = folds_path(store, k)
    named = {name: {sample.id: sample for sample in splits.part(name)} for name in POOLED}
    samples = [named[name][id] for name in POOLED for id in store.parts[name].ids]
    place = np.zeros(len(samples), dtype=np.int16)
    for fold, rows in enumerate(folds(samples, k)):
        place[list(rows)] = fold
    with atomic.disk_errors("The folds", path):
        atomic.write(path, place.tobytes())


def read_folds(store: Store, k: int) -> np.ndarray:
    """int16 [n]: the fold of each image of the pool. Raises DataError when it is missing or damaged."""
    path = folds_path(store, k)
    try:
        place = np.frombuffer(path.read_bytes(), dtype=np.int16)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.", fix="Run the search again.") from error
    if len(place) != sum(len(store.parts[name].ids) for name in POOLED):
        raise DataError(f"{path} is of other images.", fix="Remove it and run the search again.")
    return place


def folds_path(store: Store, k: int) -> Path:
    return store.folder / f"folds-{k}.i16"
