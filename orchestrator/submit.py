"""Write the submission of a search's ensemble and check it, or check a file that is there.

python -m orchestrator.submit TASK
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ensembles.blend import blend
from ensembles.compare import Ensemble
from ensembles.methods import known_methods
from orchestrator import cli, data, folders, journal
from orchestrator.ensemble import ensemble, fit, read_result
from orchestrator.folders import SearchFolder
from orchestrator.leaderboard import read_predictions
from trainables import atomic
from trainables.errors import DataError, OrchestratorError, UsageError, unknown
from trainables.store import Store, open_store
from trainables.submissions import organisers_order
from trainables.task import Task, load_task

EXAMPLES = """
python -m orchestrator.submit digits
python -m orchestrator.submit food11 --method vote
python -m orchestrator.submit food11 --check submission.csv --data data/food11
"""


def submit(folder: SearchFolder, *, task: Task, method: str | None = None) -> Path:
    """Write the test part's answers of the chosen ensemble, or of `method`, and check them; their path.

    The file replaces an earlier one only after it passed the check. Raises UsageError for an unknown
    method, NoTrialSucceeded and DataError where there is nothing to answer with, InvalidSubmission when
    the organisers would refuse the file.
    """
    chosen = _ensemble(folder, task, method)
    record = journal.read(folder.journal)
    store = open_store(Path(record.asked["store"]))
    task = task.with_heads(store.heads)
    if not store.parts["test"].ids:
        raise DataError(f"The data of {task.name} has no test part.", fix="There is nothing to hand in.")
    members = [read_predictions(folder, trial_id, store=store, part="test") for trial_id in chosen.trial_ids]
    merged = blend(members, chosen.blend)
    order = _order(task, Path(record.asked["data"]), store)
    row = {name: i for i, name in enumerate(merged.ids)}
    path = folder.path / task.answer.filename
    unchecked = folder.path / ".unchecked" / task.answer.filename
    task.answer.write(merged.take([row[name] for name in order]), unchecked)
    task.answer.check(unchecked, order)
    with atomic.disk_errors("The submission", path):
        unchecked.replace(path)
        unchecked.parent.rmdir()
    return path


def _ensemble(folder: SearchFolder, task: Task, method: str | None) -> Ensemble:
    """The ensemble asked for: as `ensemble.json` has it, or fitted now to as many members."""
    if method is not None and method not in known_methods():
        raise unknown("ensemble method", method, known_methods())
    result = read_result(folder) or ensemble(folder, task=task)
    if method is None:
        return result.best
    return result.of(method) or fit(folder, task=task, k=len(result.members), method=method).best


def _order(task: Task, root: Path, store: Store) -> tuple[str, ...]:
    """The test ids as the organisers list them; as the store does where their data is gone by now."""
    ids = store.parts["test"].ids
    try:
        sample = task.read(root).sample_submission if root.exists() else None
    except (UsageError, DataError):
        sample = None
    return organisers_order(sample, ids)


def ids_to_answer(task: Task, *, root: Path | None, out: Path, search: str | None) -> tuple[str, ...]:
    """The ids that a submission must answer, in order.

    From the data where it is given or found, else from what a search kept of it. Raises UsageError where
    there is neither.
    """
    found = data.root_of(task, root)
    if search is not None or (root is None and not found.exists()):
        kept = _kept(task, out=out, search=search)
        if kept is not None:
            return kept
    splits = task.read(found)
    return organisers_order(splits.sample_submission, [sample.id for sample in splits.test])


def _kept(task: Task, *, out: Path, search: str | None) -> tuple[str, ...] | None:
    """The test ids of a search's store; None where no search was named and none can be read."""
    try:
        record = journal.read(folders.find(out, task.name, search).journal)
        return _order(task, Path(record.asked["data"]), open_store(Path(record.asked["store"])))
    except OrchestratorError:
        if search is not None:
            raise
        return None


def check(file: Path, task: Task, ids: Sequence[str]) -> None:
    """Raises InvalidSubmission, naming file, row and fix, unless `file` answers `ids`."""
    if not ids:
        raise DataError(
            f"The data of {task.name} has no test part.", fix="There is nothing to check against."
        )
    task.answer.check(file, ids)


def main(
    task: cli.TaskName,
    search: Annotated[str | None, typer.Option(help="Id of the search; the latest by default.")] = None,
    method: Annotated[
        str | None, typer.Option(help=f"{', '.join(known_methods())}; the chosen one by default.")
    ] = None,
    check_file: Annotated[
        Path | None, typer.Option("--check", help="Only check this file; exit 3 if it is invalid.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option("--data", help="With --check: folder of the data; data/TASK by default.")
    ] = None,
    out: cli.Out = cli.DEFAULT_OUT,
    as_json: cli.Json = False,
    debug: cli.Debug = False,
) -> None:
    """Write and check the submission of a search's ensemble, or only check a file. Trains nothing."""
    described = load_task(task)
    if check_file is None and data_root is not None:
        raise UsageError("--data is for --check: a search knows its data.", fix="Leave --data out.")
    if check_file is not None and method is not None:
        raise UsageError("--check writes nothing, so no --method.", fix="Leave one of the two out.")
    if check_file is not None:
        ids = ids_to_answer(described, root=data_root, out=out, search=search)
        check(check_file, described, ids)
        report = {"path": str(check_file), "rows": len(ids), "valid": True}
        line = f"OK: {len(ids)} rows"
    else:
        report = _submitted(described, folders.find(out, task, search), method)
        line = "OK: {rows} rows of {method}\nWritten: {path}".format(**report)
    print(json.dumps(report) if as_json else line)


def _submitted(task: Task, folder: SearchFolder, method: str | None) -> dict[str, object]:
    path = submit(folder, task=task, method=method)
    result = read_result(folder)
    assert result is not None
    return {"path": str(path), "rows": result.images["test"], "method": method or result.chosen}


if __name__ == "__main__":
    cli.run_command(main, examples=EXAMPLES)
