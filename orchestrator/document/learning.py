"""How the trials behind a submission were trained: loss, optimizer, schedule and settings."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.document.paper import section
from orchestrator.document.sources import Sources
from orchestrator.evidence.content import Section, Table
from orchestrator.journal import TrialRecord
from orchestrator.snapshot import short, unusual
from trainables.families import load_family
from trainables.task import DenseKind

OPTIMIZERS = {
    "sgd": "SGD with Nesterov momentum",
    "adam": "Adam",
    "adamw": "AdamW",
    "nadamw": "NAdamW",
    "lion": "Lion",
    "rmsprop": "RMSprop",
}
SCHEDULES = {
    "cosine": "falls along a cosine",
    "step": "falls to a tenth after each third of the epochs",
    "onecycle": "follows the one-cycle policy",
    "constant": "stays constant",
}
ALWAYS = (
    "model",
    "image_size",
    "batch_size",
    "epochs",
    "optimizer",
    "lr",
    "weight_decay",
    "schedule",
    "seed",
)
MOST_MEMBERS = 8
"""Trials whose settings stand side by side."""


def training(sources: Sources) -> Section:
    """Loss, optimizer and schedule of the best trial, and the settings of all behind the submission."""
    best = sources.best
    if best is None:
        return section("Losses and schedule", "No trial has a score yet.")
    return section(
        "Losses and schedule",
        f"The best single trial, {best.trial_id}, was trained as follows. {_loss(sources, best.params)}"
        f" {_optimizer(best.params)}",
        _settings(sources.behind, best),
    )


def _loss(sources: Sources, params: Mapping[str, Any]) -> str:
    if isinstance(sources.task.kind, DenseKind):
        named = params.get("loss", "default")
        loss = "the loss that its kind of answer has" if named == "default" else f"the loss {named}"
    elif params.get("ordinal", "classes") != "classes":
        loss = f"the loss of ordered grades by {params['ordinal']}"
    else:
        gamma = params.get("focal")
        loss = f"the focal loss (gamma {short(gamma)})" if gamma else "cross entropy"
    extras = [
        f"label smoothing {short(params['label_smoothing'])}" if params.get("label_smoothing") else "",
        f"class weights to the power of {short(params['class_weights'])}"
        if params.get("class_weights")
        else "",
        f"sampling balanced to the power of {short(params['balance'])}" if params.get("balance") else "",
        f"the hardest {params['hard_share']:.0%} of a batch" if params.get("hard_share", 1) < 1 else "",
    ]
    listed = ", ".join(filter(None, extras))
    return f"It minimises {loss}{f', with {listed}' if listed else ''}."


def _optimizer(params: Mapping[str, Any]) -> str:
    name = str(params.get("optimizer", "?"))
    sentence = f"{OPTIMIZERS.get(name, name)} makes its updates, at a peak rate of {short(params.get('lr'))}"
    if "weight_decay" in params:
        sentence += f" and weight decay {short(params['weight_decay'])}"
    sentence += f", on batches of {params['batch_size']}" if "batch_size" in params else ""
    schedule = str(params.get("schedule", ""))
    if schedule:
        sentence += f"; the rate {SCHEDULES.get(schedule, f'follows {schedule}')}"
        sentence += f" over {params['epochs']} epochs" if "epochs" in params else ""
    extras = [
        f"a warm-up of {short(params['warmup_epochs'])} epochs" if params.get("warmup_epochs") else "",
        f"dropout {short(params['dropout'])}" if params.get("dropout") else "",
        f"stochastic depth {short(params['drop_path'])}" if params.get("drop_path") else "",
        f"an average of the weights of decay {params['ema_decay']:g}" if params.get("ema_decay") else "",
        f"gradients clipped at {short(params['clip_grad'])}" if params.get("clip_grad") else "",
        f"patience of {params['patience']} epochs" if params.get("patience") else "",
    ]
    listed = ", ".join(filter(None, extras))
    return f"{sentence}.{f' It also has {listed}.' if listed else ''}"


def _family_defaults(trial: TrialRecord) -> Mapping[str, Any]:
    """What the model's family takes where nothing is said."""
    options = load_family(str(trial.params.get("model", ""))).Options
    return {field.name: field.default for field in dataclasses.fields(options)}


def _settings(trials: Sequence[TrialRecord], best: TrialRecord) -> Table | None:
    """Parameters of the trials behind the submission side by side, where they are not the usual ones."""
    shown = list(trials[:MOST_MEMBERS]) or [best]
    names = list(ALWAYS)
    for trial in shown:
        usual = _family_defaults(trial)
        names += [
            name
            for name, value in unusual(trial.params).items()
            if name not in (*names, "weights") and value != usual.get(name)
        ]
    rows = [
        (name, *(short(trial.params.get(name)) for trial in shown))
        for name in names
        if any(trial.params.get(name) is not None for trial in shown)
    ]
    rows.append(("epochs run", *(str(trial.epoch) for trial in shown)))
    rows.append(("best epoch", *(str(trial.best_epoch or "") for trial in shown)))
    notes = ["All other parameters have their defaults."]
    if len(trials) > MOST_MEMBERS:
        notes.append(f"{len(trials) - MOST_MEMBERS} more trials are in leaderboard.csv.")
    return Table(
        caption="Settings of the trials behind the submission",
        columns=("parameter", *(trial.trial_id for trial in shown)),
        rows=tuple(rows),
        notes=tuple(notes),
    )
