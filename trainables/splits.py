"""Who is in which part: checks, and the parts that the organisers did not make. Standard library only."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from trainables.errors import DataError
from trainables.task import PARTS, Head, Sample, Splits

VALID_SHARE = 0.2
HOLDOUT_SHARE = 1 / 3
LABELLED = PARTS[:3]


def complete(splits: Splits, *, heads: Sequence[Head], seed: int = 0) -> Splits:
    """The splits with every part but `test` filled; a note says what was cut from where.

    A missing `valid` is a stratified fifth of `train`, a missing `holdout` a stratified third of `valid`.
    A file's part depends on its id, the seed and the counts alone, so every search of a task that leaves
    `seed` alone judges on the same holdout. Raises DataError where the data cannot be trained or judged on.
    """
    _check_labels(splits, heads)
    _check_classes(splits.train, heads)
    _check_unique(splits)
    if not splits.valid:
        splits = _cut_valid(splits, seed)
    if not splits.holdout:
        splits = _cut_holdout(splits, seed)
    return splits


def stratified(
    samples: Sequence[Sample], share: float, *, seed: int, keep_one: bool = False
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split into (rest, cut): `share` of the samples of every joint label, by largest remainder.

    Both keep the samples' order. `keep_one` leaves a sample of every joint label in the rest.
    """
    strata: dict[tuple[int, ...] | None, list[Sample]] = defaultdict(list)
    for sample in samples:
        strata[sample.target].append(sample)
    wanted = {label: share * len(members) for label, members in strata.items()}
    room = {label: len(members) - keep_one for label, members in strata.items()}
    counts = {label: min(int(wanted[label]), room[label]) for label in strata}
    missing = round(share * len(samples)) - sum(counts.values())
    # a rare label's turn among equal remainders is as good as drawn, and the same each time
    by_remainder = sorted(strata, key=lambda k: (counts[k] - wanted[k], _draw(f"{k}", seed)))
    for label in [k for k in by_remainder if counts[k] < room[k]][: max(missing, 0)]:
        counts[label] += 1
    drawn = {label: sorted(members, key=lambda s: _draw(s.id, seed)) for label, members in strata.items()}
    cut = {sample.id for label, members in drawn.items() for sample in members[: counts[label]]}
    return tuple(s for s in samples if s.id not in cut), tuple(s for s in samples if s.id in cut)


def _draw(text: str, seed: int) -> bytes:
    """A hash instead of a random generator: stable across versions, and blind to the files around."""
    return hashlib.sha256(f"{seed}:{text}".encode()).digest()


def _cut_valid(splits: Splits, seed: int) -> Splits:
    train, valid = stratified(splits.train, VALID_SHARE, seed=seed, keep_one=True)
    if not valid:
        raise DataError(
            f"No validation part, and {len(splits.train)} training images are too few to cut one.",
            fix="Bring a validation part, or more training images.",
        )
    note = f"No validation part was found: {len(valid)} images were cut from train, stratified by label."
    return replace(splits, train=train, valid=valid, notes=(*splits.notes, note))


def _cut_holdout(splits: Splits, seed: int) -> Splits:
    if len(splits.valid) < 2:
        raise DataError(
            "One validation image is too few to choose on some and judge on others.",
            fix="Bring a larger validation part, or none: then one is cut from train.",
        )
    valid, holdout = stratified(splits.valid, HOLDOUT_SHARE, seed=seed)
    note = f"{len(holdout)} of {len(splits.valid)} validation images are held out: they select nothing."
    return replace(splits, valid=valid, holdout=holdout, notes=(*splits.notes, note))


def _check_labels(splits: Splits, heads: Sequence[Head]) -> None:
    for name in LABELLED:
        for sample in splits.part(name):
            if sample.target is None or len(sample.target) != len(heads):
                raise DataError(
                    f"{sample.path}: {len(sample.target or ())} of {len(heads)} labels ({name}).",
                    fix="Label it, or take the file out.",
                )
            for head, label in zip(heads, sample.target, strict=True):
                if not 0 <= label < head.num_classes:
                    last = head.num_classes - 1
                    raise DataError(
                        f"{sample.path}: label {label} is outside 0..{last} of {head.name!r}.",
                        fix="Correct its label, or take the file out.",
                    )


def _check_classes(train: Sequence[Sample], heads: Sequence[Head]) -> None:
    """Raise DataError unless every class of every head has a training image. Needs checked labels."""
    if not train:
        raise DataError("There are no training images.", fix="Check the data folder's layout.")
    for i, head in enumerate(heads):
        seen = {sample.target[i] for sample in train if sample.target is not None}
        empty = [name for index, name in enumerate(head.classes) if index not in seen]
        if len(seen) == 1:
            raise DataError(
                f"All training images have the one label {head.classes[seen.pop()]!r} of {head.name!r}.",
                fix="There is nothing to learn from one class: check the labels.",
            )
        if empty:
            raise DataError(
                f"No training image of class {', '.join(map(repr, empty[:20]))} of {head.name!r}"
                f" ({len(empty)} of {head.num_classes} classes are empty).",
                fix="Check that the download is whole and the labels are right.",
            )


def _check_unique(splits: Splits) -> None:
    parts_of: dict[str, str] = {}
    for name in PARTS:
        samples = splits.part(name)
        twice = [id for id, count in Counter(s.id for s in samples).items() if count > 1]
        if twice:
            files = ", ".join(str(s.path) for s in samples if s.id == twice[0])
            raise DataError(
                f"The id {twice[0]!r} stands for several images of {name}: {files}.",
                fix="Give each image a name of its own.",
            )
        for sample in samples:
            path = os.path.abspath(sample.path)
            if path in parts_of:
                raise DataError(
                    f"{sample.path} is in {parts_of[path]} and in {name}.",
                    fix="An image that is trained on cannot judge: leave it in one part.",
                )
            parts_of[path] = name
