"""Every competition, one after the other, by the product's own command.

python -m benchmarks.competitions --data DIR [--time 2m] [--only food11,cars196] [--json]

DIR holds a folder a task in the organisers' layout. A task without a folder of its own is run on links to
the folder of one in the same layout. A task that fails has its reason in its row, and the others go on.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.plan import parse_duration
from trainables.errors import unknown

CLASSES = ("food11", "cars196", "clipart65", "aptos2019", "bengali", "mygo")
DENSE = ("super_resolution", "severstal", "global_wheat", "instance_segmentation")
TASKS = CLASSES + DENSE
LAYOUT_OF = {"mygo": "clipart65"}
"""Tasks whose folder may be made of another's: both are `train/CLASS/*`, `valid/CLASS/*`, `test/*`."""
HEADS = ("task", "metric", "trials", "single", "valid", "holdout", "method", "rows", "check", "seconds")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one search came to; the scores are those of the chosen ensemble unless they say otherwise."""

    task: str
    seconds: float
    metric: str = ""
    trials: int = 0
    method: str = ""
    single: float | None = None
    """The best single trial's, on the holdout."""
    valid: float | None = None
    """Cross-fitted."""
    holdout: float | None = None
    holdout_error: float | None = None
    """Half of the 95 % interval."""
    rows: int = 0
    """Test pictures that the submission answers."""
    checked: bool = False
    """Whether `submit --check` accepts the submission and knows it from the ledger."""
    failure: str = ""

    def cells(self) -> tuple[str, ...]:
        if self.failure:
            return (self.task, self.failure)
        error = "" if self.holdout_error is None else f" ±{self.holdout_error:.3f}"
        return (
            self.task,
            self.metric,
            str(self.trials),
            _score(self.single),
            _score(self.valid),
            _score(self.holdout) + error,
            self.method,
            str(self.rows),
            "OK" if self.checked else "invalid",
            f"{self.seconds:.0f}",
        )


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def run(task: str, data: Path, out: Path, *, limit: str) -> Row:
    """One search of `limit`, and a check of what it wrote."""
    begun = time.monotonic()
    try:
        found = _json("search", task, "--data", str(data), "--out", str(out), "--time", limit)
        seconds = time.monotonic() - begun
        submission = found["paths"]["submission"]
        checked = _json("submit", task, "--check", submission, "--data", str(data), "--out", str(out))
    except _Failed as error:
        return Row(task=task, seconds=time.monotonic() - begun, failure=str(error))
    single = next(row for row in found["table"] if row["method"] == "best_single")
    return Row(
        task=task,
        metric=found["metric"],
        trials=sum(found["trials"].values()),
        method=found["method"],
        single=single["holdout_value"],
        valid=found["valid_value"],
        holdout=found["holdout_value"],
        holdout_error=found["holdout_error"],
        rows=checked["rows"],
        checked=checked["valid"] and checked["number"] is not None,
        seconds=seconds,
    )


class _Failed(Exception):
    """A command ended with another code than 0; its message."""


def _json(command: str, *arguments: str) -> Any:
    """What a command of the product prints with `--json`. Raises _Failed with its last words."""
    program = [sys.executable, "-m", f"orchestrator.{command}", *arguments, "--json"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    sys.stderr.write(done.stderr)
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("Error:")]
        raise _Failed(f"{command} ended with {done.returncode}: {(errors or said or ['nothing said'])[-1]}")
    return json.loads(done.stdout)


def folder_of(task: str, data: Path, scratch: Path) -> Path:
    """The task's folder in `data`; else, where another has the same layout, one of links to its files."""
    own, other = data / task, data / LAYOUT_OF.get(task, task)
    if own.is_dir() or not other.is_dir():
        return own
    made = scratch / task
    shutil.copytree(other, made, copy_function=_link)
    return made


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(Path(source).resolve())


def measure(data: Path, out: Path, *, tasks: Sequence[str], limit: str) -> list[Row]:
    """A row a task, each printed on stderr once it is there."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for task in tasks:
            print(f"--- {task}", file=sys.stderr, flush=True)
            rows.append(run(task, folder_of(task, data, Path(scratch)), out, limit=limit))
            print("  ".join(rows[-1].cells()), file=sys.stderr, flush=True)
    return rows


def show(rows: Sequence[Row]) -> None:
    """The table; a failed task's reason stands behind its name."""
    done = [HEADS, *(row.cells() for row in rows if not row.failure)]
    widths = [max(len(cells[i]) for cells in done) for i in range(len(HEADS))]
    widths[0] = max(len(row.task) for row in rows)
    for cells in (HEADS, *(row.cells() for row in rows)):
        if len(cells) == len(HEADS):
            print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
        else:
            print("  ".join([cells[0].ljust(widths[0]), *cells[1:]]))
    print("single: best single trial on the holdout; valid: cross-fitted; holdout: ± half a 95 % interval.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder a task")
    parser.add_argument("--time", default="2m", help="time limit of each search")
    parser.add_argument("--only", default=",".join(TASKS), help="names of tasks, separated by commas")
    parser.add_argument("--out", type=Path, help="where searches are kept; nowhere by default")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    parse_duration(arguments.time)
    tasks = [name.strip() for name in arguments.only.split(",")]
    for name in tasks:
        if name not in TASKS:
            raise SystemExit(str(unknown("task", name, TASKS)))
    with contextlib.ExitStack() as stack:
        out = arguments.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rows = measure(arguments.data, out.absolute(), tasks=tasks, limit=arguments.time)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        show(rows)
    raise SystemExit(any(row.failure or not row.checked for row in rows))


if __name__ == "__main__":
    main()
