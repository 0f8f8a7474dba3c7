"""Write the submission of a search's ensemble and check it, check a file, or note what was handed in.

python -m orchestrator.submit TASK
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ensembles.compare import Ensemble, answer
from ensembles.methods import known_methods
from orchestrator import cli, data, folders, journal
from orchestrator.display import say
from orchestrator.ensemble import ensemble, fit, read_result
from orchestrator.entries import LATEST, Entry, Ledger, Made, handed_in_on, today
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord
from orchestrator.leaderboard import read_predictions
from orchestrator.ledger import about_today
from orchestrator.trust import NotTrusted
from trainables import atomic
from trainables.errors import DataError, OrchestratorError, UsageError, unknown
from trainables.store import Store, open_store
from trainables.submissions import organisers_order
from trainables.task import Task, load_task

EXAMPLES = """
python -m orchestrator.submit digits
python -m orchestrator.submit food11 --method vote
python -m orchestrator.submit food11 --check submission.csv --data data/food11
python -m orchestrator.submit food11 --search 20260101-120000-ab12 --again
python -m orchestrator.submit food11 --score 0.8123 --file submission.csv
"""


def submit(folder: SearchFolder, *, task: Task, method: str | None = None) -> Path:
    """Write the test part's answers of the chosen ensemble, or of `method`, and check them; their path.

    The file replaces an earlier one only after it passed the check, and is noted in the task's ledger; a
    ledger that cannot be written is said, and is no failure. Raises UsageError for an unknown method,
    NoTrialSucceeded and DataError where there is nothing to answer with, InvalidSubmission when the
    organisers would refuse the file.
    """
    chosen = _ensemble(folder, task, method)
    record, store = kept(folder)
    path = write(folder, task, chosen=chosen, record=record, store=store)
    made = _made(folder, chosen, metric=task.metric.name, record=record, store=store)
    try:
        Ledger(folder.path.parent).add(path, made)
    except DataError as error:
        say(f"The submission is not in the ledger: {error}", warning=True)
    return path


def kept(folder: SearchFolder) -> tuple[SearchRecord, Store]:
    """What a search tells, and its pictures. Raises DataError where they cannot be read."""
    record = journal.read(folder.journal)
    return record, open_store(Path(record.asked["store"]))


def write(folder: SearchFolder, task: Task, *, chosen: Ensemble, record: SearchRecord, store: Store) -> Path:
    """The test part's answers of an ensemble, checked; an earlier file is replaced by a valid one only.

    `record` and `store` are `kept`. Raises as `submit` does.
    """
    task = task.with_heads(store.heads)
    if not store.parts["test"].ids:
        raise DataError(f"The data of {task.name} has no test part.", fix="There is nothing to hand in.")
    members = [read_predictions(folder, trial_id, store=store, part="test") for trial_id in chosen.trial_ids]
    merged = answer(chosen, members, task.decision)
    task, order = _asked_for(task, Path(record.asked["data"]), store)
    row = {name: i for i, name in enumerate(merged.ids)}
    path = folder.path / task.answer.filename
    unchecked = folder.path / ".unchecked" / task.answer.filename
    task.answer.write(merged.take([row[name] for name in order]), unchecked)
    task.answer.check(unchecked, order)
    with atomic.disk_errors("The submission", path):
        unchecked.replace(path)
        unchecked.parent.rmdir()
    return path


def _made(folder: SearchFolder, chosen: Ensemble, *, metric: str, record: SearchRecord, store: Store) -> Made:
    return Made(
        search=folder.search_id,
        method=chosen.method,
        members=chosen.trial_ids,
        weights=chosen.weights,
        metric=metric,
        valid=chosen.valid_value,
        holdout=chosen.holdout_value,
        holdout_error=chosen.holdout_error,
        images={name: len(part.ids) for name, part in store.parts.items()},
        commit=str(record.asked.get("commit", "unknown")),
        fingerprint=str(record.asked.get("fingerprint", "unknown")),
        decision=tuple(chosen.decision),
    )


def _ensemble(folder: SearchFolder, task: Task, method: str | None) -> Ensemble:
    """The ensemble asked for: as `ensemble.json` has it, or fitted now to as many members."""
    if method is not None and method not in known_methods():
        raise unknown("ensemble method", method, known_methods())
    result = read_result(folder) or ensemble(folder, task=task)
    if method is None:
        return result.best
    return result.of(method) or fit(folder, task=task, k=len(result.members), method=method).best


def _asked_for(task: Task, root: Path, store: Store) -> tuple[Task, tuple[str, ...]]:
    """The task as its data have it, and the test ids as the organisers list them.

    Both as the store has them where the data are gone by now.
    """
    task = task.with_heads(store.heads)
    ids = store.parts["test"].ids
    try:
        splits = task.read(root) if root.exists() else None
    except (UsageError, DataError):
        splits = None
    if splits is None:
        return task, ids
    return task.found_in(splits).with_heads(store.heads), organisers_order(splits.sample_submission, ids)


def what_to_answer(
    task: Task, *, root: Path | None, out: Path, search: str | None
) -> tuple[Task, tuple[str, ...]]:
    """The task with the heads of its data, and the ids that a submission must answer, in order.

    From the data where it is given or found, else from what a search kept of it. Raises UsageError where
    there is neither.
    """
    found = data.root_of(task, root)
    if search is not None or (root is None and not found.exists()):
        told = _told(task, out=out, search=search)
        if told is not None:
            return told
    splits = task.read(found)
    ids = organisers_order(splits.sample_submission, [sample.id for sample in splits.test])
    return task.found_in(splits), ids


def _told(task: Task, *, out: Path, search: str | None) -> tuple[Task, tuple[str, ...]] | None:
    """What a search's store tells; None where no search was named and none can be read."""
    try:
        record, store = kept(folders.find(out, task.name, search))
        return _asked_for(task, Path(record.asked["data"]), store)
    except NotTrusted:
        raise
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


def hand_in(
    ledger: Ledger, which: str, *, task: Task, public: float | None = None, private: float | None = None
) -> Entry:
    """Note in the ledger that a submission was handed in, and the scores that the organisers gave it.

    `which` is `latest`, a number of the ledger or a path. Raises UsageError for a file that is not in the
    ledger or was edited, and for a score that is none of the task's metric.
    """
    entry = ledger.find(which)
    if ledger.fault(entry) == "edited":
        raise UsageError(
            f"{ledger.home / entry.file} was edited after it was written.",
            fix="No prediction may be edited by hand: write it again with submit.",
        )
    for value in (public, private):
        if value is not None and not math.isfinite(value):
            raise UsageError(f"The score {value} is no number.", fix="Give it as the organisers show it.")
        if value is not None and abs(value) > 1 >= abs(entry.made.valid):
            raise UsageError(
                f"The score {value:g} is not on the scale of {task.metric.name}, where validation has"
                f" {entry.made.valid:.4f}.",
                fix=f"Is it in percent? Then give {value / 100:g}.",
            )
    return ledger.hand_in(entry, public=public, private=private)


def main(
    task: cli.TaskName,
    search: cli.Search = None,
    method: Annotated[
        str | None, typer.Option(help=f"{', '.join(known_methods())}; the chosen one by default.")
    ] = None,
    check_file: Annotated[
        Path | None, typer.Option("--check", help="Only check this file; exit 3 if it is invalid.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Predict anew from the stored weights, and compare the files.")
    ] = False,
    data_root: Annotated[
        Path | None, typer.Option("--data", help="With --check: folder of the data; data/TASK by default.")
    ] = None,
    handed_in: Annotated[
        bool, typer.Option("--handed-in", help="Only note in the ledger that a submission was handed in.")
    ] = False,
    score: Annotated[
        float | None, typer.Option("--score", help="Note its public score; it was handed in then.")
    ] = None,
    private_score: Annotated[float | None, typer.Option(help="Note its private score.")] = None,
    file: Annotated[
        str | None, typer.Option(help="Which submission: a path, its number, or latest, the default.")
    ] = None,
    out: cli.Out = cli.DEFAULT_OUT,
    trust: cli.Trust = False,
    as_json: cli.Json = False,
    debug: cli.Debug = False,
) -> None:
    """Write and check the submission of a search's ensemble, check a file, or note what was handed in."""
    described = load_task(task)
    ledger = Ledger((out / described.name).absolute())
    noting = handed_in or score is not None or private_score is not None
    given = {
        "--data": data_root,
        "--check": check_file,
        "--method": method,
        "--search": search,
        "--file": file,
        "--again": again or None,
    }
    _refuse_idle({name for name, value in given.items() if value is not None}, noting=noting)
    if noting:
        entry = hand_in(ledger, file or LATEST, task=described, public=score, private=private_score)
        report, line = entry.to_json(), f"Noted for number {entry.number}: {_given(entry)}"
    elif check_file is not None:
        described, ids = what_to_answer(described, root=data_root, out=out, search=search)
        check(check_file, described, ids)
        number = _number(check_file, ledger)
        if number is None and ledger.path.exists():
            say(
                f"{check_file} is as no submission of {ledger.path}: it was edited, or written elsewhere. "
                "No prediction may be edited by hand.",
                warning=True,
            )
        report = {"path": str(check_file), "rows": len(ids), "valid": True, "number": number}
        line = f"OK: {len(ids)} rows"
    elif again:
        report, line = _made_again(folders.find(out, described.name, search), described)
    else:
        report = _submitted(described, folders.find(out, described.name, search), method)
        line = "OK: {rows} rows of {method}\nWritten: {path}".format(**report)
    print(json.dumps(report) if as_json else line)
    if check_file is None and not again:
        _tell_the_day(described, ledger, noting=noting)


def _refuse_idle(given: set[str], *, noting: bool) -> None:
    """Raises UsageError where an option of those given would do nothing."""
    if "--data" in given and "--check" not in given:
        raise UsageError("--data is for --check: a search knows its data.", fix="Leave --data out.")
    for one, other in (("--check", "--method"), ("--check", "--again"), ("--again", "--method")):
        if {one, other} <= given:
            raise UsageError(f"{one} and {other} do not go together.", fix="Leave one of the two out.")
    if noting and given - {"--file"}:
        raise UsageError(
            "--score, --private-score and --handed-in write no submission.",
            fix=f"Leave {', '.join(sorted(given - {'--file'}))} out; --file says which one is meant.",
        )
    if "--file" in given and not noting:
        raise UsageError("--file says which submission is meant.", fix="Give --score or --handed-in, too.")


def _given(entry: Entry) -> str:
    scores = {"public": entry.public, "private": entry.private}
    known = [f"{name} score {value:g}" for name, value in scores.items() if value is not None]
    return (
        f"{', '.join([f'handed in {entry.handed_in}', *known])} ({entry.made.method} of {entry.made.search})."
    )


def _number(path: Path, ledger: Ledger) -> int | None:
    """A file's number in the ledger; None where it has none or the ledger is damaged."""
    try:
        entry = ledger.of_file(path)
    except DataError:
        return None
    return None if entry is None else entry.number


def _tell_the_day(task: Task, ledger: Ledger, *, noting: bool) -> None:
    """How many were handed in today; a warning where the rule allows no more, or fewer."""
    try:
        entries = ledger.read()
    except DataError:
        return  # it was said when the submission was noted
    limit, count = task.rules.submissions_per_day, len(handed_in_on(entries, today()))
    line = about_today(task, entries, today())
    if limit is None or count < limit + noting:
        say(line)
    elif noting:
        say(f"{line} That is more than the rule allows.", warning=True)
    else:
        say(f"{line} Hand this one in after midnight UTC.", warning=True)


def _made_again(folder: SearchFolder, task: Task) -> tuple[dict[str, object], str]:
    from orchestrator.again import submission_again

    path, same = submission_again(folder, task, say)
    said = "the same, byte for byte" if same else "NOT the same as the submission of the search"
    return {"path": str(path), "same": same}, f"From the stored weights: {said}.\nWritten: {path}"


def _submitted(task: Task, folder: SearchFolder, method: str | None) -> dict[str, object]:
    path = submit(folder, task=task, method=method)
    result = read_result(folder)
    assert result is not None
    number = _number(path, Ledger(folder.path.parent))
    return {
        "path": str(path),
        "rows": result.images["test"],
        "method": method or result.chosen,
        "number": number,
    }


if __name__ == "__main__":
    cli.run_command(main, examples=EXAMPLES)
