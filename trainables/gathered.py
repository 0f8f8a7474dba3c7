"""Predictions of whatever type, and truths: read from a file, put one after another, and picked from."""

from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np

from trainables.boxes import Boxes
from trainables.errors import DataError
from trainables.instances import Instances
from trainables.maps import MAGIC, Maps
from trainables.predictions import Dense, Predictions

ZIP = b"PK"
"""How a file that numpy wrote begins."""


def load(path: Path) -> Predictions:
    """Read what any type's `save` wrote. Raises DataError on a file that is missing, cut or not ours."""
    try:
        with path.open("rb") as stream:
            if stream.read(len(MAGIC)).startswith(ZIP):
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as file:
                    names = set(file.files)
                if "counts" in names:
                    return Instances.load(path)
                return Boxes.load(path) if "rows" in names else Dense.load(path)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{path}: these predictions cannot be read ({error}).", fix="Run the trial again."
        ) from error
    return Maps.load(path)


def take(truth: Any, rows: Sequence[int] | np.ndarray) -> Any:
    """The given images of a truth, in the given order: targets [N, heads], or predictions."""
    return truth[rows] if isinstance(truth, np.ndarray) else truth.take(rows)


def held(predictions: Any) -> Any:
    """The same predictions, or targets, in memory as a whole, for those who look at them again and again."""
    if not isinstance(predictions, Maps):
        return predictions
    return Maps(ids=predictions.ids, images=[*predictions], form=predictions.form)


def joined(parts: Sequence[Any]) -> Any:
    """Predictions, or targets, of several parts one after another; all of one type."""
    return _joined(parts[0], parts)


@singledispatch
def _joined(first: object, _parts: Sequence[Any]) -> Any:
    raise TypeError(f"{type(first).__name__} is neither predictions nor targets.")


@_joined.register
def _(_first: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts)


@_joined.register
def _(first: Dense, parts: Sequence[Dense]) -> Dense:
    fields = {head: np.concatenate([part.fields[head] for part in parts]) for head in first.fields}
    return Dense(ids=_ids(parts), fields=fields)


@_joined.register
def _(first: Maps, parts: Sequence[Maps]) -> Maps:
    return Maps(ids=_ids(parts), images=_Chained(tuple(parts)), form=first.form)


@_joined.register
def _(_first: Boxes, parts: Sequence[Boxes]) -> Boxes:
    return Boxes(ids=_ids(parts), images=tuple(image for part in parts for image in part.images))


@_joined.register
def _(_first: Instances, parts: Sequence[Instances]) -> Instances:
    return Instances(ids=_ids(parts), images=tuple(image for part in parts for image in part.images))


def _ids(parts: Sequence[Predictions]) -> tuple[str, ...]:
    return tuple(id for part in parts for id in part.ids)


class _Chained:
    """The images of several maps, each read when it is asked for."""

    def __init__(self, parts: tuple[Maps, ...]) -> None:
        self._places = [(part, row) for part in parts for row in range(len(part))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> np.ndarray:
        part, place = self._places[row]
        return part.image(place)
