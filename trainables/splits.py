"""Who is in which part: checks, and the parts that the organisers did not make. Standard library only."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
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
    """Split into (rest, cut): `share` of the samples of every class of every head, groups left whole.

    Both keep the samples' order. `keep_one` leaves a sample of every class in the rest.
    """
    if any(s.group or len(s.target or ()) > 1 for s in samples):
        places = _places(samples, (1 - share, share), seed=seed, keep_one=keep_one)
        cut = {s.id for s, place in zip(samples, places, strict=True) if place == 1}
    else:
        cut = _by_remainder(samples, share, seed=seed, keep_one=keep_one)
    return tuple(s for s in samples if s.id not in cut), tuple(s for s in samples if s.id in cut)


def folds(samples: Sequence[Sample], k: int, seed: int = 0) -> list[tuple[int, ...]]:
    """`k` disjoint tuples of indices into `samples`, ascending, that together hold all of them.

    Each fold has its share of every class of every head; no group is in two folds. A sample's fold depends
    on the ids, the seed and the counts, not on the samples' order. Raises DataError for too few groups.
    """
    places = _places(samples, (1 / k,) * k, seed=seed)
    found = [tuple(i for i, place in enumerate(places) if place == fold) for fold in range(k)]
    if not all(found):
        raise DataError(
            f"{len(samples)} images, duplicates counted as one, are too few for {k} folds.",
            fix="Ask for fewer folds.",
        )
    return found


def _by_remainder(samples: Sequence[Sample], share: float, *, seed: int, keep_one: bool) -> set[str]:
    """The ids of `share` of the samples of every label, by largest remainder."""
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
    return {sample.id for label, members in drawn.items() for sample in members[: counts[label]]}


Label = tuple[int, int]
"""(head, class); EVERY counts all the samples, of whatever class."""
EVERY: Label = (-1, 0)


def _places(
    samples: Sequence[Sample], shares: Sequence[float], *, seed: int, keep_one: bool = False
) -> list[int]:
    """The place 0..len(shares)-1 of each sample, by iterative stratification over the heads' classes.

    The rarest class that is left is dealt out first (Sechidis, Tsoumakas and Vlahavas 2011), whole groups at
    a time and large ones first; each goes where the counts' distance to the wanted ones, squared and over
    the share, falls most. `keep_one` puts the first of every class into place 0.
    """
    units: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, sample in enumerate(samples):
        units[("group", sample.group) if sample.group else ("id", sample.id)].append(i)
    members = sorted(
        units.values(), key=lambda unit: (-len(unit), _draw(min(samples[i].id for i in unit), seed))
    )
    labels = [Counter(label for i in unit for label in _labels(samples[i])) for unit in members]
    holders: dict[Label, list[int]] = defaultdict(list)
    left: Counter[Label] = Counter()
    for unit, counts in enumerate(labels):
        left.update(counts)
        for label in counts:
            holders[label].append(unit)
    wanted = [{label: share * count for label, count in left.items()} for share in shares]
    unkept = set(left) if keep_one else set()
    places = [-1] * len(samples)
    while left:
        for unit in holders[min(left, key=lambda label: (left[label], label))]:
            if places[members[unit][0]] >= 0:
                continue
            counts = labels[unit]
            place = 0 if unkept & counts.keys() else _neediest(wanted, shares, counts)
            unkept -= counts.keys() if place == 0 else set()
            for label, count in counts.items():
                wanted[place][label] -= count
                left[label] -= count
            for i in members[unit]:
                places[i] = place
        left = +left
    return places


def _neediest(
    wanted: Sequence[Mapping[Label, float]], shares: Sequence[float], counts: Mapping[Label, int]
) -> int:
    """The place whose counts come nearest to those wanted by adding `counts`; the first of equals."""

    def change(place: int) -> float:
        still = wanted[place]
        return sum(n * (n - 2 * still[label]) for label, n in counts.items()) / shares[place]

    return min((place for place, share in enumerate(shares) if share > 0), key=change)


def _labels(sample: Sample) -> tuple[Label, ...]:
    return (EVERY, *enumerate(sample.target or ()))


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
    if not valid or not holdout:
        raise DataError(
            f"The {len(splits.valid)} validation images are one group: they cannot choose on some and judge"
            " on others.",
            fix="Bring more validation images that are no copies of each other.",
        )
    note = f"{len(holdout)} of {len(splits.valid)} validation images are held out: they select nothing."
    return replace(splits, valid=valid, holdout=holdout, notes=(*splits.notes, note))


def _check_labels(splits: Splits, heads: Sequence[Head]) -> None:
    for name in LABELLED:
        for sample in splits.part(name):
            if not heads:
                _check_truth(sample, name)
            elif sample.target is None or len(sample.target) != len(heads):
                raise DataError(
                    f"{sample.path}: {len(sample.target or ())} of {len(heads)} labels ({name}).",
                    fix="Label it, or take the file out.",
                )
            for head, label in zip(heads, sample.target or (), strict=bool(heads)):
                if not 0 <= label < head.num_classes:
                    last = head.num_classes - 1
                    raise DataError(
                        f"{sample.path}: label {label} is outside 0..{last} of {head.name!r}.",
                        fix="Correct its label, or take the file out.",
                    )


def _check_truth(sample: Sample, part: str) -> None:
    if sample.truth is None:
        raise DataError(
            f"{sample.path}: nothing says what is in it ({part}).", fix="Mark it, or take the file out."
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
    parts_of: dict[tuple[str, int | None], str] = {}
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
            picture = os.path.abspath(sample.path), sample.row
            if picture in parts_of:
                row = "" if sample.row is None else f", row {sample.row},"
                raise DataError(
                    f"{sample.path}{row} is in {parts_of[picture]} and in {name}.",
                    fix="An image that is trained on cannot judge: leave it in one part.",
                )
            parts_of[picture] = name
