"""The introduction of a report: the task, its rules, and the data as they were found."""

import csv
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.document.paper import section
from orchestrator.document.sources import Sources
from orchestrator.evidence.content import Block, Bullets, Section, Table, Text
from orchestrator.snapshot import one_line, score
from trainables.findings import Finding, counts
from trainables.store import MANIFEST, Quarantined, Store
from trainables.task import PARTS, Head

ANSWERS = {
    "classes": "one class of each question below for every image",
    "pictures": "a larger picture for every image",
    "masks": "a mask of each class for every image",
    "boxes": "boxes around the objects of every image",
    "instances": "a mask around each object of every image",
}
MOST_CLASSES = 30
"""Classes up to which each has a row; of more the rarest and the most frequent are shown."""
EXTREMES = 8
EXAMPLES = 3
MOST_BAD = 20


def blocks(sources: Sources) -> list[Block]:
    """Task, rules and data."""
    return [_task(sources), _rules(sources), _data(sources)]


def _task(sources: Sources) -> Section:
    task, metric = sources.task, sources.metric
    better = "greater" if metric.direction == "maximize" else "smaller"
    asked = ANSWERS.get(task.kind.answers, task.kind.answers)
    return section(
        "Task",
        f"{task.title} (task {task.name}). Wanted is {asked}. "
        f"The score is {metric.name}; {better} is better.",
        Bullets(tuple(_question(head) for head in sources.heads)) if sources.heads else None,
        _baselines(sources),
    )


def _question(head: Head) -> str:
    many = head.num_classes > MOST_CLASSES
    shown = ", ".join(one_line(name) for name in head.classes[: EXTREMES if many else None])
    more = ", ..." if many else ""
    plural = "class" if head.num_classes == 1 else "classes"
    return f"{head.name}: {head.num_classes} {plural} ({shown}{more})"


def _baselines(sources: Sources) -> Table | None:
    found = sources.task.baselines
    if not found:
        return None
    return Table(
        caption="Published baselines",
        columns=("baseline", "source", "public score", "private score"),
        rows=tuple((b.name, b.source, score(b.public), score(b.private)) for b in found),
        notes=("They were taken on the organisers' images, and compare with scores on these alone.",),
        words=2,
    )


def _rules(sources: Sources) -> Section:
    stated = [str(rule) for rule in sources.asked.get("rules") or sources.rules.sentences()]
    rules = sources.rules
    if rules.submissions_per_day:
        stated.append(f"{rules.submissions_per_day} submissions a day")
    if rules.final_picks:
        stated.append(f"{rules.final_picks} final picks")
    made = any(trial.params.get("pretrained") for trial in sources.record.trials.values())
    used = "Some trials began from pretrained weights." if made else "No trial began from pretrained weights."
    return section("Rules", Bullets(tuple(stated)), used)


def _data(sources: Sources) -> Section:
    store = sources.store
    if store is None:
        return section("Data", f"Not available: {sources.no_store}")
    return section(
        "Data as found",
        f"The data were read from {sources.asked.get('data', 'an unrecorded place')}. "
        f"Their fingerprint, over every file, label and part, is {store.fingerprint}.",
        _parts(store, _sizes(store)),
        *(_classes(store, head, sources) for head in sources.task.targets),
        *_found(store.findings, Path(str(sources.asked.get("data", "")))),
        *_quarantine(store.quarantined),
    )


def _parts(store: Store, sizes: Mapping[str, Sequence[tuple[int, int]]]) -> Table:
    """Images and their sizes, part by part."""
    rows = []
    for name in PARTS:
        part, known = store.parts[name], sizes.get(name, [])
        if not part.ids:
            continue
        shorter = sorted(min(size) for size in known)
        longer = sorted(max(size) for size in known)
        rows.append(
            (
                name,
                f"{len(part.ids):,}",
                "yes" if part.targets is not None else "no",
                f"{shorter[0]}" if shorter else "",
                f"{statistics.median(shorter):.0f} x {statistics.median(longer):.0f}" if shorter else "",
                f"{longer[-1]}" if longer else "",
            )
        )
    return Table(
        caption="The parts of the data",
        columns=("part", "images", "answers known", "shortest side", "median sides", "longest side"),
        rows=tuple(rows),
        notes=(
            "Trials are trained on train and chosen on valid; holdout chooses nothing and only reports.",
            "Sides are those of the files, in px.",
        ),
    )


def _sizes(store: Store) -> dict[str, list[tuple[int, int]]]:
    """Width and height of each part's files, as far as the manifest holds them."""
    found: dict[str, list[tuple[int, int]]] = {}
    with (store.folder / MANIFEST).open(newline="", errors="surrogateescape") as file:
        for row in csv.DictReader(file):
            if row["width"]:
                found.setdefault(row["part"], []).append((int(row["width"]), int(row["height"])))
    return found


def _classes(store: Store, head: Head, sources: Sources) -> Table | None:
    """Images of each class and part; of many classes the rarest and the most frequent."""
    column = sources.task.targets.index(head)
    labels = [
        (name, (int(row[column]),))
        for name in PARTS
        if store.parts[name].targets is not None
        for row in store.parts[name].targets
    ]
    found = counts(labels, [head])[head.name]
    if not found:
        return None
    parts = [name for name in PARTS if name in found]
    total = Counter({label: sum(found[name][label] for name in parts) for label in head.classes})
    ranked = [label for label, _ in total.most_common()]
    many = len(ranked) > MOST_CLASSES
    shown = [*ranked[:EXTREMES], *ranked[-EXTREMES:]] if many else list(head.classes)
    most = f"Of {len(ranked)} classes the {EXTREMES} most frequent and the {EXTREMES} rarest are shown."
    notes = ([most] if many else []) + _spread(sorted(found.get("train", {}).values()))
    return Table(
        caption=f"Images of each class of {head.name}",
        columns=("class", *parts, "all"),
        rows=tuple(
            (one_line(label), *(f"{found[name][label]:,}" for name in parts), f"{total[label]:,}")
            for label in shown
        ),
        notes=tuple(notes),
    )


def _spread(train: Sequence[int]) -> list[str]:
    """How many training images the classes have, of ascending numbers."""
    if not train:
        return []
    if train[0] == train[-1]:
        return [f"Every class has {train[0]:,} training images."]
    middle = statistics.median(train)
    return [f"A class has {train[0]:,} to {train[-1]:,} training images, {middle:g} in the median."]


def _found(findings: Sequence[Finding], root: Path) -> list[Block]:
    """What was found of copies, contradicting labels, blanks and imbalance."""
    if not findings:
        return [
            Text(
                "The search for copies, contradicting labels, blank pictures and unequal classes found "
                "nothing to report."
            )
        ]
    items = []
    for finding in findings:
        shown = "; ".join(example.replace(f"{root}/", "") for example in finding.examples[:EXAMPLES])
        items.append(f"{finding.severity}: {finding.text}" + (f" For example {shown}." if shown else ""))
    return [
        Text("What was found of copies, contradicting labels, blanks and imbalance:"),
        Bullets(tuple(items)),
    ]


def _quarantine(bad: Sequence[Quarantined]) -> list[Block]:
    """Pictures that could not be decoded."""
    if not bad:
        return [Text("Every picture could be decoded; none was put in quarantine.")]
    shown, pictures = bad[:MOST_BAD], "1 picture" if len(bad) == 1 else f"{len(bad):,} pictures"
    more = (f"{len(bad) - MOST_BAD} more are not shown.",) if len(bad) > MOST_BAD else ()
    return [
        Table(
            caption=f"Quarantine: {pictures} could not be decoded",
            columns=("part", "file", "reason"),
            rows=tuple((b.part, Path(b.file).name, one_line(b.reason)) for b in shown),
            notes=("Labelled ones were left out; test pictures are answered as if they were gray.", *more),
            words=3,
        )
    ]
