"""What a user should know of the pictures before training: copies, conflicts, blanks, imbalance."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from trainables.task import PARTS, Head

IMBALANCE = 10.0
"""Pictures of the largest class for each of the smallest from which a user is warned."""
EXAMPLES = 5

Severity = Literal["problem", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("problem", "warning", "note")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence on the data: a problem prevents a search, a warning costs score, a note costs nothing."""

    kind: str
    severity: Severity
    text: str
    examples: tuple[str, ...] = ()
    """Files, or pairs of files."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What the findings need of one picture; `group` is common to copies, `digest` to the same bytes."""

    part: str
    file: str
    target: tuple[int, ...] | None
    digest: str = ""
    group: str = ""
    blank: bool = False


def find(pictures: Sequence[Picture], heads: Sequence[Head]) -> tuple[Finding, ...]:
    """Everything found, the worst first; `part` is the one that the organisers gave."""
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        if picture.group:
            groups[picture.group].append(picture)
    found = [
        *_across(list(groups.values())),
        *_conflicts(list(groups.values()), heads),
        *_blank(pictures),
        *_imbalance([p for p in pictures if p.part == "train"], heads),
        *_within(list(groups.values())),
    ]
    return tuple(sorted(found, key=lambda f: SEVERITIES.index(f.severity)))


def files(count: int, *, of: str = "") -> str:
    """`1 picture`, `2 pictures`, with the part that they are of."""
    return f"{count:,} {f'{of} ' if of else ''}picture{'' if count == 1 else 's'}"


def _across(groups: Sequence[Sequence[Picture]]) -> Iterable[Finding]:
    """Copies in two parts that the organisers gave: the later part is judged on what was trained on."""
    for i, first in enumerate(PARTS):
        for second in PARTS[i + 1 :]:
            both = [g for g in groups if {first, second} <= {p.part for p in g}]
            if not both:
                continue
            count = sum(p.part == second for g in both for p in g)
            pairs = [(_one(g, first), _one(g, second)) for g in both[:EXAMPLES]]
            yield Finding(
                kind="leak",
                severity="warning",
                text=f"{files(count, of=second)} {'is a copy' if count == 1 else 'are copies'} of {first}"
                f" pictures: {second} scores may be too good. Nothing was moved.",
                examples=tuple(f"{a} = {b}" for a, b in pairs),
            )


def _one(group: Sequence[Picture], part: str) -> str:
    return next(p.file for p in group if p.part == part)


def _conflicts(groups: Sequence[Sequence[Picture]], heads: Sequence[Head]) -> Iterable[Finding]:
    """Copies with different labels."""
    labelled = [[p for p in group if p.target is not None] for group in groups]
    mixed = [group for group in labelled if len({p.target for p in group}) > 1]
    if mixed:
        yield Finding(
            kind="conflict",
            severity="warning",
            text=f"{len(mixed):,} group{'' if len(mixed) == 1 else 's'} of copies"
            f" {'has' if len(mixed) == 1 else 'have'} different labels: at most one of them is right.",
            examples=tuple(
                ", ".join(f"{p.file} ({_spelled(p, heads)})" for p in group[:4]) for group in mixed[:EXAMPLES]
            ),
        )


def _spelled(picture: Picture, heads: Sequence[Head]) -> str:
    target = picture.target or ()
    return "/".join(
        h.classes[k] if 0 <= k < h.num_classes else str(k) for h, k in zip(heads, target, strict=False)
    )


def _blank(pictures: Sequence[Picture]) -> Iterable[Finding]:
    blank = [p for p in pictures if p.blank]
    if blank:
        parts = Counter(p.part for p in blank)
        where = ", ".join(f"{n} in {part}" for part, n in parts.items())
        yield Finding(
            kind="blank",
            severity="warning",
            text=f"{files(len(blank))} of one color ({where}).",
            examples=tuple(p.file for p in blank[:EXAMPLES]),
        )


def counts(
    labels: Iterable[tuple[str, tuple[int, ...] | None]], heads: Sequence[Head]
) -> dict[str, dict[str, dict[str, int]]]:
    """Of each head and part the number of pictures of every class; `labels` are (part, target)."""
    found: dict[str, dict[str, dict[str, int]]] = {head.name: {} for head in heads}
    for name, target in labels:
        for head, label in zip(heads, target or (), strict=False):
            part = found[head.name].setdefault(name, dict.fromkeys(head.classes, 0))
            if 0 <= label < head.num_classes:
                part[head.classes[label]] += 1
    return found


def _imbalance(train: Sequence[Picture], heads: Sequence[Head]) -> Iterable[Finding]:
    for name, parts in counts([(p.part, p.target) for p in train], heads).items():
        sizes = Counter({label: n for label, n in parts.get("train", {}).items() if n})
        if not sizes:
            continue
        ranked = sizes.most_common()
        (most, many), (least, few) = ranked[0], ranked[-1]
        if many >= IMBALANCE * few:
            yield Finding(
                kind="imbalance",
                severity="warning",
                text=f"Classes of {name!r} are unequal: {many:,} training pictures of {most!r},"
                f" {few:,} of {least!r}.",
            )


def _within(groups: Sequence[Sequence[Picture]]) -> Iterable[Finding]:
    for part in PARTS:
        inside = [g for g in ([p for p in group if p.part == part] for group in groups) if len(g) > 1]
        if not inside:
            continue
        exact = sum(len({p.digest or i for i, p in enumerate(g)}) == 1 for g in inside)
        yield Finding(
            kind="copies",
            severity="note",
            text=f"{files(sum(map(len, inside)), of=part)} form {len(inside):,}"
            f" group{'' if len(inside) == 1 else 's'} of copies ({exact:,} of the same bytes).",
            examples=tuple(f"{g[0].file} = {g[1].file}" for g in inside[:EXAMPLES]),
        )
