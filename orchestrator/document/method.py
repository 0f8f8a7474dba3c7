"""The method of a report: what was done to the pictures, with which networks, and how the search chose."""

from collections.abc import Iterable, Sequence

from orchestrator import pareto
from orchestrator.document import guarded, learning, searching
from orchestrator.document.paper import section
from orchestrator.document.searching import tried
from orchestrator.document.sources import Sources
from orchestrator.evidence.content import Block, Section, Table
from orchestrator.journal import TrialRecord
from orchestrator.snapshot import score, short
from trainables.families import OF_CLASSES
from trainables.task import DenseKind

AUGMENTATIONS = {
    "augment": "policy",
    "flip": "horizontal flip",
    "vertical_flip": "vertical flip and quarter turns",
    "crop": "random resized crop, share of the area that may be lost",
    "rotation": "rotation, degrees to either side",
    "translate": "shift, share of the side",
    "color": "strength of colour jitter",
    "erasing": "probability of random erasing",
    "mixup": "alpha of mixup",
    "cutmix": "alpha of CutMix",
    "mix_probability": "share of batches mixed",
}


def blocks(sources: Sources, *, drawn: bool) -> list[Block]:
    """Preprocessing to ensemble, in the order in which a picture goes through them; without the layers of the
    best network where nothing is drawn, for they take building it."""
    return [
        _preprocessing(sources),
        _augmentation(sources),
        _architectures(sources, drawn=drawn),
        learning.training(sources),
        searching.space(sources),
        searching.scheduling(sources),
        searching.ensemble(sources),
    ]


def _preprocessing(sources: Sources) -> Section:
    store, trials = sources.store, sources.record.trials.values()
    sizes = tried(trial.params.get("image_size") for trial in trials)
    if store is None:
        kept = "How the pictures were kept is not known, for the prepared images are gone."
    elif store.side:
        kept = f"Every picture was decoded once and kept as a square of {store.side} px, 8 bit RGB."
    else:
        kept = "Every picture was decoded once and kept in its own size, 8 bit RGB."
    dense = isinstance(sources.task.kind, DenseKind)
    seen = "are trained on crops of" if dense else "see them at"
    return section(
        "Preprocessing",
        f"{kept} Networks {seen} {sizes} px, normalised by ImageNet's mean and standard deviation."
        if sizes
        else kept,
        _turns(trials),
    )


def _turns(trials: Iterable[TrialRecord]) -> str:
    """What was averaged at the end, if anything."""
    views = {str(trial.params.get("tta", "none")) for trial in trials} - {"none"}
    if not views:
        return "Predictions are of the plain picture: no test-time augmentation was used."
    return f"Test-time augmentation ({', '.join(sorted(views))}): the answers to several views are merged."


def _augmentation(sources: Sources) -> Section:
    """What the best trial did, and the range over all trials."""
    trials, best = list(sources.record.trials.values()), sources.best
    if best is None:
        return section("Augmentation", "No trial has a score yet.")
    unread = OF_CLASSES if isinstance(sources.task.kind, DenseKind) else ()
    mixed = any(trial.params.get(name) for trial in trials for name in ("mixup", "cutmix"))
    rows = []
    for name, words in AUGMENTATIONS.items():
        values = [trial.params[name] for trial in trials if name in trial.params]
        if any(values) and name not in unread and (mixed or name != "mix_probability"):
            rows.append((words, short(best.params.get(name)), tried(values)))
    policy = [] if "augment" in unread else ["Policy none switches all but mixing off."]
    if not rows:
        return section("Augmentation", "No trial augmented its pictures.")
    table = Table(
        caption="Augmentation",
        columns=("what", f"best trial, {best.trial_id}", "all trials"),
        rows=tuple(rows),
        notes=("What is not listed was used by no trial.", *policy),
    )
    return section("Augmentation", table)


def _architectures(sources: Sources, *, drawn: bool) -> Section:
    """The networks that were tried and what they cost, and the layers of the best."""
    costs = {point.trial_id: point for point in pareto.points(sources.folder, sources.record)}
    groups: dict[tuple[str, bool], list[TrialRecord]] = {}
    for trial in sources.record.trials.values():
        key = str(trial.params.get("model", "?")), bool(trial.params.get("pretrained"))
        groups.setdefault(key, []).append(trial)
    ranks = {trial.trial_id: rank for rank, trial in enumerate(sources.record.ranked())}
    rows = []
    for (model, pretrained), trials in groups.items():
        scored = sorted((t for t in trials if t.trial_id in ranks), key=lambda t: ranks[t.trial_id])
        best, known = next(iter(scored), None), [costs[t.trial_id] for t in trials if t.trial_id in costs]
        rows.append(
            (
                model,
                "pretrained" if pretrained else "from scratch",
                str(len(trials)),
                score(best.value) if best else "",
                best.trial_id if best else "",
                _span([cost.parameters / 1e6 for cost in known]),
                _span([cost.macs / 1e6 for cost in known]),
            )
        )
    rows.sort(key=lambda row: ranks.get(row[4], len(ranks)))
    table = Table(
        caption="Architectures tried",
        columns=(
            "model",
            "weights",
            "trials",
            f"best {sources.metric.name}",
            "by trial",
            "million parameters",
            "million MACs",
        ),
        rows=tuple(rows),
        notes=("Scores on valid, of each trial's best epoch. MACs: multiply-accumulates of one image.",),
        words=2,
    )
    layers = guarded.blocks("Layers of the best network", lambda: _layers(sources)) if drawn else []
    return section("Architectures", table, *layers)


def _layers(sources: Sources) -> list[Block]:
    from orchestrator.pictures import networks

    if sources.best is None or sources.store is None:
        return []
    return [networks.layers(sources.folder, sources.trained, sources.task, sources.store)]


def _span(values: Sequence[float]) -> str:
    """One number, or the least and the most."""
    if not values:
        return ""
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"
