"""What a search's answers look like against the truth: confusions, classes, confidence, mistakes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.evidence.calibration import fit_temperature, probabilities, reliability
from orchestrator.evidence.content import Block, Picture, Section, Table, Text
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord
from orchestrator.leaderboard import members_of, read_predictions, trials_named
from orchestrator.pictures.classes import class_scores, class_table, draw_classes
from orchestrator.pictures.confusions import MOST_WRITTEN, Says, confusion_counts, draw_confusion
from orchestrator.pictures.curves import draw_search_curves
from orchestrator.pictures.mistakes import draw_mistakes, surest_mistakes
from orchestrator.pictures.reliability import draw_reliability
from orchestrator.pictures.style import slim
from trainables.config import WHOLE
from trainables.errors import OrchestratorError
from trainables.predictions import Dense
from trainables.task import Head, Task

if TYPE_CHECKING:
    from trainables.store import Store

SAID: dict[Says, str] = {"counts": "number of images", "shares": "share of the true class in per cent"}
PARTS = ("holdout", "valid")
"""Which images the answers are shown on: those that chose nothing, where there are any."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The answers of the chosen ensemble, or of the best trial, on images whose truth is known."""

    name: str
    """Whose answers they are and on which images."""
    part: str
    predictions: Any
    """In the order of the part."""
    decided: Any
    """The same after the task's fitted decision; itself where there is none."""
    valid: Any
    """The answers to the validation images."""
    note: str = ""


def blocks(folder: SearchFolder, record: SearchRecord, task: Task, store: "Store", into: Path) -> list[Block]:
    """The curves of the search, and its answers head by head; a dense kind's beside the truth.

    The pictures are written to `into`. What cannot be shown is said.
    """
    into.mkdir(parents=True, exist_ok=True)
    task = task.with_heads(store.heads)
    curves = draw_search_curves(record, into / "curves.png")
    made: list[Block] = [curves or Text("No trial has finished an epoch: there are no learning curves.")]
    try:
        answered = read_answers(folder, record, task, store)
    except OrchestratorError as error:
        return [*made, Text(f"The answers cannot be shown: {error.what}")]
    if isinstance(answered.predictions, Dense):
        return [*made, *_classified(answered, task.targets, store, into)]
    from orchestrator.contact_sheet import contact_sheet

    path = into / "predictions.png"
    part = store.parts[answered.part]
    contact_sheet(answered.decided, part, task.metric, path, title=answered.name)
    return [*made, Picture(file=slim(path), caption=f"From the worst to the best answer: {answered.name}.")]


def read_answers(folder: SearchFolder, record: SearchRecord, task: Task, store: "Store") -> Answered:
    """The answers on the holdout, or on the validation images where there is none.

    Raises NoTrialSucceeded or DataError where there are none, or their files cannot be read.
    """
    from ensembles.blend import blend
    from ensembles.merging import Blend
    from orchestrator.ensemble import read_result
    from trainables.errors import DataError, NoTrialSucceeded

    names = [name for name in PARTS if store.parts[name].ids and store.parts[name].targets is not None]
    if not names:
        raise DataError("no image that was not trained on has a known answer.", fix="Give valid labels.")
    result = read_result(folder)
    if result is not None:
        best = result.best
        members, how = best.trial_ids, Blend(best.rule, tuple(best.weights))
        decision, who = best.decision, f"{best.method} of {_counted(len(members))}"
    else:
        members = tuple(m.name for m in members_of(record)[0][:1])
        how, decision, who = Blend("logit", (1.0,)), (), f"trial {', '.join(members)}"
    if not members:
        raise NoTrialSucceeded("no trial has a score.", fix="Search again.")

    def answers(part: str) -> Any:
        read = [read_predictions(folder, _judged(record, m, part), store=store, part=part) for m in members]
        return blend(read, how) if result is not None else read[0]

    found = answers(names[0])
    decides = task.decision is not None and decision
    retrained = [m for m in members if _judged(record, m, "valid") != m]
    return Answered(
        name=f"{who}, {len(store.parts[names[0]].ids)} {_images(names[0])}",
        part=names[0],
        predictions=found,
        decided=task.decision.apply(found, decision) if task.decision is not None and decides else found,
        valid=answers("valid") if names[0] != "valid" else found,
        note=_retrained(retrained),
    )


def _counted(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _images(part: str) -> str:
    return "holdout images" if part == "holdout" else "validation images"


def _judged(record: SearchRecord, member: str, part: str) -> str:
    """Whose answers to a part stand for a member: it, or on valid the trial of which it is, where it was
    trained on these images."""
    trial = record.trials[trials_named(member)[0]]
    return trial.of if part == "valid" and trial.params.get("folds") == WHOLE else member


def _retrained(members: list[str]) -> str:
    if not members:
        return ""
    return (
        f"Trained on the validation images too: {', '.join(members)}. On these the trials that they repeat "
        "stand for them."
    )


def _classified(answered: Answered, heads: tuple[Head, ...], store: "Store", into: Path) -> list[Block]:
    """The pictures of each head, in a section of its own where there are several."""
    made: list[Block] = []
    rows: list[tuple[str, ...]] = []
    for column, head in enumerate(heads):
        name = f"_{head.name}" if len(heads) > 1 else ""
        found = [*_confused(answered, head, column, store=store, into=into, name=name)]
        calibrated, row = _calibrated(
            answered, head, column, store=store, path=into / f"reliability{name}.png"
        )
        found += [
            calibrated,
            *_mistaken(answered, head, column, store=store, path=into / f"mistakes{name}.png"),
        ]
        rows.append(row)
        made += [Section(title=f"Head {head.name}", blocks=tuple(found))] if len(heads) > 1 else found
    return [*made, _calibration_table(answered, rows)]


def _confused(
    answered: Answered, head: Head, column: int, *, store: "Store", into: Path, name: str
) -> list[Block]:
    targets = store.parts[answered.part].targets[:, column]
    counts = confusion_counts(answered.decided.fields[head.name], targets)
    title = answered.name if not name else f"{answered.name}, {head.name}"
    few = len(head.classes) <= MOST_WRITTEN
    made: list[Block] = []
    for says, words in SAID.items():
        path = draw_confusion(
            counts, head.classes, into / f"confusion_{says}{name}.png", title=title, says=says
        )
        listed = f"each cell says the {words}" if few else f"the worst are listed by the {words}"
        made.append(Picture(file=path, caption=f"Confusion matrix, {listed}: {title}."))
    scores = class_scores(counts, head.classes)
    path = draw_classes(scores, into / f"classes{name}.png", title=title)
    made.append(Picture(file=path, caption=f"Precision and recall of each class: {title}."))
    return [*made, class_table(scores, caption=f"Precision, recall and F1 by class: {title}.")]


def _calibrated(
    answered: Answered, head: Head, column: int, *, store: "Store", path: Path
) -> tuple[Picture, tuple[str, ...]]:
    """The reliability diagram of a head and its row of the table."""
    logits = answered.predictions.fields[head.name]
    targets = store.parts[answered.part].targets[:, column]
    known = store.parts["valid"].targets
    if answered.part == "valid" or known is None:
        scaled, temperatures = _cross_fitted(logits, targets)
    else:
        temperatures = [fit_temperature(answered.valid.fields[head.name], known[:, column])]
        scaled = logits / temperatures[0]
    before, after = reliability(logits, targets), reliability(scaled, targets)
    said = " and ".join(f"{t:.2f}" for t in temperatures)
    panels = (("as it is", before), (f"with temperature {said}", after))
    draw_reliability(panels, path, title=f"{answered.name}, {head.name}")
    picture = Picture(
        file=path,
        caption=f"Reliability: how often answers of each confidence are right, {answered.name}, "
        f"before and after temperature {said}.",
    )
    figures = (before.error, before.chance, after.error, after.chance, before.log_loss, after.log_loss)
    return picture, (head.name, said, *(f"{value:.3f}" for value in figures))


def _cross_fitted(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Logits over the temperature of the other half of the images, every second one."""
    scaled, temperatures = np.empty_like(logits), []
    for half in (0, 1):
        temperatures.append(fit_temperature(logits[1 - half :: 2], targets[1 - half :: 2]))
        scaled[half::2] = logits[half::2] / temperatures[-1]
    return scaled, temperatures


def _calibration_table(answered: Answered, rows: list[tuple[str, ...]]) -> Table:
    fitted = "on the validation images" if answered.part != "valid" else "on the other half of the images"
    return Table(
        caption=f"Calibration: {answered.name}.",
        columns=(
            "head",
            "temperature",
            "calibration error",
            "by chance",
            "with temperature",
            "by chance",
            "log loss",
            "with temperature",
        ),
        rows=tuple(rows),
        notes=(
            f"Temperature: of the least log loss, fitted {fitted}; above 1 the answers were too sure.",
            "Calibration error: the mean distance of confidence and share of right answers, in 15 bins. By "
            "chance: what perfectly calibrated answers of this confidence would show on as many images.",
            *([answered.note] if answered.note else []),
        ),
    )


def _mistaken(answered: Answered, head: Head, column: int, *, store: "Store", path: Path) -> list[Block]:
    part, logits = store.parts[answered.part], answered.predictions.fields[head.name]
    targets = part.targets[:, column]
    rows = surest_mistakes(logits, targets)
    if not rows:
        return [Text(f"No mistake was made: {answered.name}.")]
    shares = probabilities(logits[rows])
    said = [
        (str(head.classes[targets[row]]), str(head.classes[one.argmax()]), float(one.max()))
        for row, one in zip(rows, shares, strict=True)
    ]
    draw_mistakes([part.images[row] for row in rows], said, path, title=f"{answered.name}, {head.name}")
    wrong = int((logits.argmax(1) != targets).sum())
    return [
        Picture(
            file=path,
            caption=f"The {len(rows)} most confident of {wrong} mistakes: the true class, → what it was "
            f"taken for, and how surely; {answered.name}.",
        )
    ]
