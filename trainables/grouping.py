"""Copies kept on one side of the cuts that we make, once the decoded pictures show which are copies."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.duplicates import groups, near_pairs, numbered, prints
from trainables.findings import Finding, Picture, find
from trainables.layouts import readable
from trainables.splits import complete
from trainables.task import PARTS, Head, Sample, Splits

if TYPE_CHECKING:
    import numpy as np

Key = tuple[Path, int | None]
"""(path, row) of an image."""


def key_of(sample: Sample) -> Key:
    return sample.path, sample.row


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Whose picture a row holds; `bad` where gray stands in for it. `sha256` is that of the file."""

    sample: Sample
    sha256: str
    bad: bool


def settle(
    images: "np.ndarray",
    rows: Sequence[Decoded],
    splits: Splits,
    uncut: Splits | None,
    heads: Sequence[Head],
) -> tuple[Splits, tuple[Finding, ...]]:
    """The splits with the groups of copies named, none parted by a cut of ours, and what was found.

    `images` are uint8 [len(rows), S, S, 3]. Where `uncut` is None nothing is cut anew.
    """
    seen = prints(images)
    pairs = near_pairs(seen)
    digests = [row.sha256 if row.sample.row is None else "" for row in rows]
    given = {key_of(s): name for name in PARTS for s in (uncut or splits).part(name)}
    copies = numbered(groups([digests], pairs), len(rows))
    pictures = [
        Picture(
            part=given[key_of(row.sample)],
            file=readable(str(row.sample.path)) if row.sample.row is None else row.sample.id,
            target=row.sample.target,
            digest=digest,
            group=group,
            blank=blank and not row.bad,
        )
        for row, digest, group, blank in zip(rows, digests, copies, seen.blank.tolist(), strict=True)
    ]
    whole = numbered(groups([digests, [row.sample.group for row in rows]], pairs), len(rows))
    named = {key_of(row.sample): group for row, group in zip(rows, whole, strict=True)}
    found = find(pictures, heads)
    if uncut is None:
        return _with_groups(splits, named), found
    whole_again = recut(splits, uncut, named, heads)
    if whole_again is not splits:
        sizes = ", ".join(f"{name} {len(whole_again.part(name)):,}" for name in PARTS[:3])
        text = f"Cut anew, so that no copies are parted: {sizes}."
        found = (*found, Finding(kind="recut", severity="note", text=text))
    return _with_groups(whole_again, named), found


def recut(splits: Splits, uncut: Splits, groups: Mapping[Key, str], heads: Sequence[Head]) -> Splits:
    """The same images, cut anew if a cut of ours parts a group.

    `uncut` are the splits as the organisers gave them, from which `splits` were completed. What they parted
    stays parted. Raises DataError where the groups leave nothing to cut.
    """
    given = {key_of(s): name for name in PARTS for s in uncut.part(name)}
    places: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name in PARTS:
        for sample in splits.part(name):
            group = groups.get(key_of(sample), "")
            places[given[key_of(sample)], group].add(name)
    if all(len(parts) == 1 for (_, group), parts in places.items() if group):
        return splits
    return complete(_with_groups(uncut, groups), heads=heads)


def _with_groups(splits: Splits, groups: Mapping[Key, str]) -> Splits:
    train, valid, holdout, test = (
        tuple(replace(s, group=groups.get(key_of(s), s.group)) for s in splits.part(name)) for name in PARTS
    )
    return replace(splits, train=train, valid=valid, holdout=holdout, test=test)


def as_stored(
    splits: Splits, uncut: Splits, stored: Mapping[str, tuple[Sequence[str], Sequence[str]]]
) -> Splits:
    """`splits` with each image in the part where the store has it, and its group; those not there left out.

    `stored` has of every part (ids, groups). Ids are unique among the parts cut from one that was given.
    """
    origin = {"train": "train", "valid": "valid" if uncut.valid else "train", "test": "test"}
    origin["holdout"] = "holdout" if uncut.holdout else origin["valid"]
    samples = {(origin[name], s.id): s for name in PARTS for s in splits.part(name)}
    train, valid, holdout, test = (
        tuple(
            replace(samples[origin[name], id], group=group) for id, group in zip(*stored[name], strict=True)
        )
        for name in PARTS
    )
    return replace(splits, train=train, valid=valid, holdout=holdout, test=test)
