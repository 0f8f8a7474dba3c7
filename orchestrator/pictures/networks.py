"""What a trained network is and sees: its layers as a table, and pictures of what goes on inside."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.evidence.content import Block, Picture, Table, Text
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord, TrialRecord
from orchestrator.pictures import attention, embedding, filters
from orchestrator.pictures import augmented as views
from trainables.errors import OrchestratorError
from trainables.store import Store
from trainables.task import Task

if TYPE_CHECKING:
    from trainables.looking import Looker, Seen
    from trainables.shown import Shown

log = logging.getLogger(__name__)

MOST_PICTURES = 800
"""Of the validation part, as many of each class as there are alike."""


def blocks(
    folder: SearchFolder, record: SearchRecord, trial: TrialRecord, task: Task, store: Store, into: Path
) -> list[Block]:
    """Pictures of a trial's network as PNG files in `into`; a sentence stands for what cannot be drawn.

    Views of training pictures and the first filters; of a task of classes also t-SNE in two spaces, maps
    through the depth, what channels respond to, and Grad-CAM. `task` has the heads of the store. Raises what
    `trainables.restored.restored` does.
    """
    from trainables.dense_trainer import DenseTrainer
    from trainables.looking import Looker, plainly
    from trainables.restored import restored
    from trainables.trainers import ClassTrainer

    into.mkdir(parents=True, exist_ok=True)
    title = _title(trial, record)
    trainer = restored(folder.trial(trial.trial_id), task, store)
    assert isinstance(trainer, ClassTrainer | DenseTrainer)
    model = plainly(trainer.learner.evaluated)
    found = [
        _or_why("Views of training pictures", lambda: _views(trainer, into, title)),
        _or_why("First filters", lambda: filters.first_filters(model, into / "filters.png", title=title)),
    ]
    return [*found, *_inside(Looker(trainer), into, title)] if isinstance(trainer, ClassTrainer) else found


def _inside(looker: "Looker", into: Path, title: str) -> list[Block]:
    """What a classifier makes of validation pictures."""
    from trainables.looking import stratified

    targets = looker.targets
    if targets is None or not looker.spots:
        lacking = "labelled validation picture" if looker.spots else "layer with a map of the picture"
        return [Text(f"There is no {lacking}: what the network sees inside is not drawn.")]
    spots = list(dict.fromkeys([looker.middle, looker.spots[-1]]))
    seen = looker.look(looker.valid.rows.numpy()[stratified(targets[:, 0], MOST_PICTURES)], spots)
    middle = looker.middle.name
    spaces = {f"middle layer, {middle}": seen.maps[middle], "input of the last layer": seen.last}
    drawn: dict[str, Callable[[], Picture]] = {
        "t-SNE": lambda: embedding.embeddings(seen, looker.heads, spaces, into / "tsne.png", title=title),
        "Maps through the depth": lambda: filters.maps_through_the_depth(
            looker, int(seen.rows[_typical(seen)]), into / "maps.png", title=title
        ),
        "What channels respond to": lambda: filters.responses(
            looker, seen, spots, into / "responses.png", title=title
        ),
        "Grad-CAM": lambda: attention.attention(looker, seen, into / "gradcam.png", title=title),
    }
    return [_or_why(what, make) for what, make in drawn.items()]


def layers(folder: SearchFolder, trial: TrialRecord, task: Task, store: Store) -> Table:
    """The layers of a trial's network. Raises what `trainables.restored.restored` does."""
    from trainables.layers import table
    from trainables.looking import plainly
    from trainables.restored import restored

    trainer = restored(folder.trial(trial.trial_id), task, store)
    size = trainer.learner.config.image_size
    rows = table(plainly(trainer.learner.evaluated), size)
    cells = [
        (row.name, row.kind, " x ".join(map(str, row.shape)), f"{row.parameters:,}", f"{row.macs:,}")
        for row in rows
    ]
    total = f"{sum(row.parameters for row in rows):,}", f"{sum(row.macs for row in rows):,}"
    return Table(
        caption=f"Layers of {trial.params.get('model', 'the network')}, trial {trial.trial_id}, for pictures"
        f" of {size} x {size} px",
        columns=("layer", "kind", "output", "parameters", "multiply-accumulates"),
        rows=(*cells, ("in all", "", "", *total)),
        notes=(
            "Output: channels, height, width; or places and channels. Layers that neither compute nor change"
            " the shape (activations, dropout) are left out. Multiply-accumulates are those of convolutions"
            " and matrix products, for one picture.",
        ),
        words=3,
        strong=frozenset({len(cells)}),
    )


def _views(trainer: "Shown", into: Path, title: str) -> Picture:
    found = views.augmented(trainer, trainer.learner.config, into / "augmented.png", title=title)
    if found is None:
        raise OrchestratorError("the trial saw every training picture as it is")
    return found


def _title(trial: TrialRecord, record: SearchRecord) -> str:
    score = "" if trial.value is None else f", {record.asked.get('metric', 'score')} {trial.value:.4g}"
    return f"Trial {trial.trial_id} ({trial.params.get('model', '?')}){score}"


def _typical(seen: "Seen") -> int:
    """Place of the picture that is right with the median margin; of all where none is right."""
    logits = next(iter(seen.logits.values()))
    margin = np.diff(np.partition(logits, -2, axis=1)[:, -2:], axis=1)[:, 0]
    right = np.flatnonzero(logits.argmax(1) == seen.targets[:, 0])
    places = right if len(right) else np.arange(len(logits))
    return int(places[np.argsort(margin[places], kind="stable")[len(places) // 2]])


def _or_why(what: str, make: Callable[[], Picture]) -> Block:
    """The picture, or why there is none: networks of others have forms that nobody foresaw."""
    try:
        return make()
    except OrchestratorError as error:
        return Text(f"{what}: left out, for {error.what}.")
    except Exception as error:
        log.warning("%s", what, exc_info=True)
        return Text(f"{what}: left out, for it failed ({' '.join(str(error).split())[:200]}).")
