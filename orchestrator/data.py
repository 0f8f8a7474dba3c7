"""Finding and reading a task's data."""

import os
import statistics
from pathlib import Path

from trainables.errors import DataError
from trainables.splits import complete
from trainables.task import Splits, Task


def root_of(task: Task, asked: Path | None) -> Path:
    """The folder that was asked for, else ORCH_DATA/TASK or ORCH_DATA itself, else data/TASK."""
    if asked is not None:
        return asked.expanduser().absolute()
    base = Path(os.environ.get("ORCH_DATA", "data")).expanduser().absolute()
    inside = base / task.name
    return base if "ORCH_DATA" in os.environ and not inside.is_dir() else inside


def read(task: Task, asked: Path | None) -> tuple[Path, Task, Splits]:
    """The data's root, the task with the heads found there, and the parts.

    Valid and holdout are cut where the data has none. Raises UsageError where there is no data, DataError
    where it cannot be used.
    """
    root = root_of(task, asked)
    splits = task.read(root)
    found = task.with_heads(splits.heads)
    return root, found, complete(splits, heads=found.kind.heads)


def median_side(splits: Splits, *, count: int) -> int:
    """Median of the shorter sides in px of up to `count` training pictures, spread over the part."""
    from trainables.decode import probe

    step = max(1, len(splits.train) // count)
    sides = []
    for sample in splits.train[::step]:
        try:
            header = probe(sample.path)
            sides.append(min(header.width, header.height))
        except DataError:
            continue  # a picture that cannot be read is the store's to judge
    return round(statistics.median(sides)) if sides else 64
