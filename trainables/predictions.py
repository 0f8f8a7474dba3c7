"""What a model answers, as numpy, and its form on disk."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from trainables import atomic
from trainables.errors import DataError


class Predictions(Protocol):
    """What a model answers to the images of a part: `Dense`, `Maps`, `Boxes`, `Instances`."""

    @property
    def ids(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def take(self, rows: Sequence[int] | np.ndarray, /) -> Self:
        """The given images, in the given order."""

    def save(self, path: Path) -> None:
        """Write them as a file, whole or not at all."""


@dataclass(frozen=True, kw_only=True)
class Dense:
    """Logits of every head: `fields[head]` is float32 [N, classes], row i answers `ids[i]`."""

    ids: tuple[str, ...]
    fields: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        for name, values in self.fields.items():
            if values.ndim != 2 or len(values) != len(self.ids):
                raise DataError(f"Head {name!r}: {values.shape} logits do not fit {len(self.ids)} ids.")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | np.ndarray) -> "Dense":
        """The given rows, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        return Dense(
            ids=tuple(self.ids[i] for i in index), fields={k: v[index] for k, v in self.fields.items()}
        )

    def save(self, path: Path) -> None:
        """Write as npz: ids as unicode, logits as float16 under `logits/HEAD`; atomic."""
        arrays = {f"logits/{k}": np.clip(v, -6e4, 6e4).astype(np.float16) for k, v in self.fields.items()}
        content = io.BytesIO()
        np.savez(content, ids=np.asarray(self.ids, dtype=np.str_), **arrays)
        atomic.write(path, content.getvalue())

    @staticmethod
    def load(path: Path) -> "Dense":
        """Read what `save` wrote; raises DataError on a file that is missing, cut or not ours."""
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                ids = tuple(str(i) for i in file["ids"])
                fields = {
                    k.removeprefix("logits/"): file[k].astype(np.float32) for k in file.files if k != "ids"
                }
        except Exception as error:
            raise DataError(
                f"{path}: these predictions cannot be read ({error}).", fix="Run the trial again."
            ) from error
        return Dense(ids=ids, fields=fields)
