"""Finding and reading a task's data."""

import os
import statistics
from pathlib import Path

from orchestrator import cli
from trainables.archives import archive_in, unpacked
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


def given(task: Task, asked: Path | None, *, out: Path = cli.DEFAULT_OUT) -> tuple[Path, Task, Splits]:
    """The data's root, the task with the heads found there, and the parts as the organisers gave them.

    An archive, or a folder that holds nothing else, is unpacked into `out`/unpacked first, once. Raises
    UsageError where there is no data, DataError where it cannot be used.
    """
    root = _unpacked(root_of(task, asked), out)
    splits = task.read(root)
    return root, task.found_in(splits), splits


def read(task: Task, asked: Path | None) -> tuple[Path, Task, Splits]:
    """What `given` returns, with valid and holdout cut where the data has none; raises what it raises."""
    root, found, splits = given(task, asked)
    return root, found, complete(splits, heads=found.targets)


def _unpacked(root: Path, out: Path) -> Path:
    archive = archive_in(root)
    if archive is None:
        return root
    from orchestrator.display import say, store_progress

    with store_progress(what=f"Unpacking {archive.name} (bytes)") as progress:
        folder, fresh = unpacked(archive, out / "unpacked", progress=progress)
    say(f"{archive} {'was' if fresh else 'is'} unpacked in {folder}.")
    return folder


def median_side(splits: Splits, *, count: int) -> int:
    """Median of the shorter sides in px of up to `count` training pictures, spread over the part."""
    from trainables.store import header_of

    step = max(1, len(splits.train) // count)
    sides = []
    for sample in splits.train[::step]:
        try:
            header = header_of(sample)
            sides.append(min(header.width, header.height))
        except DataError:
            continue  # a picture that cannot be read is the store's to judge
    return round(statistics.median(sides)) if sides else 64
