"""Every picture looked at once: what it is, what is wrong with it, and a print to find copies by."""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trainables import pixels
from trainables.decode import Header, Traits, decode, probe, traits
from trainables.decoding import QUARANTINE_LIMIT, Progress
from trainables.duplicates import Prints, groups, joined, near_pairs, numbered, prints
from trainables.findings import SEVERITIES, Finding, Picture, files, find
from trainables.isolated import Children, Failure, cpus
from trainables.layouts import readable
from trainables.sources import digest_of
from trainables.task import PARTS, Head, Sample, Splits

SIDE = 64
"""Side in px at which pictures are looked at."""
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
}
THIN, TINY = 8.0, 8
"""Longer over shorter side, and shorter side in px, at which a picture hardly shows anything."""
EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One picture; without `header` and `traits` there is a `fault`. A row of a table has no traits."""

    part: str
    sample: Sample
    sha256: str
    fault: str = ""
    header: Header | None = None
    traits: Traits | None = None

    @property
    def name(self) -> str:
        """File, and row where it is a table."""
        return readable(str(self.sample.path)) + ("" if self.sample.row is None else f", {self.sample.id}")


def look(path: Path) -> tuple[Header, Traits, Prints]:
    """What one file is, with its print. Raises DecodeError."""
    return probe(path), traits(path), prints(decode(path, SIDE)[None])


def look_at(splits: Splits, *, progress: Progress | None = None) -> tuple[list[Seen], Prints]:
    """Every picture of every part, and their prints in the same order; those of bad ones are blank.

    Files that crash a decoder cost themselves alone. Raises DataError for a damaged table of pixels.
    """
    samples = [(name, sample) for name in PARTS for sample in splits.part(name)]
    digests = {path: digest_of(path) for path in dict.fromkeys(sample.path for _, sample in samples)}
    seen = [Seen(part=n, sample=s, sha256=digests[s.path][0], fault=digests[s.path][1]) for n, s in samples]
    found = [joined([])] * len(seen)
    asked = [i for i, one in enumerate(seen) if not one.fault and one.sample.row is None]
    with Children(max(1, min(cpus(), len(asked) // 32))) as children:
        answers = children.map(look, [(seen[i].sample.path,) for i in asked])
        for done, (k, answer) in enumerate(answers, 1):
            i = asked[k]
            if isinstance(answer, Failure):
                seen[i] = replace(seen[i], fault=answer.reason)
            else:
                header, facts, found[i] = answer
                seen[i] = replace(seen[i], header=header, traits=facts)
            if progress:
                progress(done, len(asked))
    rows = _look_at_tables([one.sample for one in seen], progress)
    for i, print in rows.items():
        seen[i], found[i] = replace(seen[i], header=pixels.HEADER), print
    nothing = prints(np.zeros((1, SIDE, SIDE, 3), np.uint8))
    return seen, joined([one if len(one) else nothing for one in found])


def _look_at_tables(samples: Sequence[Sample], progress: Progress | None) -> dict[int, Prints]:
    """The print of every sample that is a row of a table."""
    wanted: dict[Path, dict[int, int]] = defaultdict(dict)
    places = [i for i, sample in enumerate(samples) if sample.row is not None]
    for place, i in enumerate(places):
        row = samples[i].row
        assert row is not None
        wanted[samples[i].path][row] = place
    if not places:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows"
        out.touch()
        pixels.write_all(wanted, SIDE, out, progress)
        found = prints(np.fromfile(out, np.uint8).reshape(-1, SIDE, SIDE, 3))
    return {
        i: Prints(waves=found.waves[k : k + 1], small=found.small[k : k + 1], blank=found.blank[k : k + 1])
        for k, i in enumerate(places)
    }


def judge(seen: Sequence[Seen], found: Prints, heads: Sequence[Head]) -> tuple[Finding, ...]:
    """What there is to say of the pictures, problems first."""
    digests = [one.sha256 if one.sample.row is None else "" for one in seen]
    named = numbered(groups([digests], near_pairs(found)), len(seen))
    pictures = [
        Picture(
            part=one.part,
            file=one.name,
            target=one.sample.target,
            digest=digest,
            group=group,
            blank=blank and not one.fault,
        )
        for one, digest, group, blank in zip(seen, digests, named, found.blank.tolist(), strict=True)
    ]
    every = (*_unreadable(seen), *find(pictures, heads), *_odd(seen))
    return tuple(sorted(every, key=lambda f: SEVERITIES.index(f.severity)))


def _unreadable(seen: Sequence[Seen]) -> list[Finding]:
    """Bad pictures, as the store will take them: too many labelled ones are a problem."""
    found = []
    labelled = [one for one in seen if one.part != "test"]
    bad = [one for one in labelled if one.fault]
    if bad:
        many = len(bad) >= QUARANTINE_LIMIT * len(labelled)
        fate = f"fewer than {QUARANTINE_LIMIT:.0%} would be left out" if many else "left out of the search"
        found.append(
            Finding(
                kind="unreadable",
                severity="problem" if many else "warning",
                text=f"{files(len(bad))} of {len(labelled):,} labelled ones cannot be decoded ({fate}).",
                examples=tuple(f"{one.name}: {one.fault}" for one in bad),
            )
        )
    bad = [one for one in seen if one.fault and one.part == "test"]
    if bad:
        found.append(
            Finding(
                kind="unreadable",
                severity="warning",
                text=f"{files(len(bad), of='test')} cannot be decoded: answered as if gray.",
                examples=tuple(f"{one.name}: {one.fault}" for one in bad),
            )
        )
    return found


def _odd(seen: Sequence[Seen]) -> list[Finding]:
    """Pictures that are read rightly, and that a user may not know of."""
    whole = [one for one in seen if one.header and one.traits]
    misnamed = [one for one in whole if not _is_named_rightly(one)]
    kinds = {
        "suffix": (misnamed, "in another format than the suffix says: read by content"),
        "animated": (
            [o for o in whole if o.traits and o.traits.frames > 1],
            "of several frames: the first counts",
        ),
        "turned": ([o for o in whole if o.traits and o.traits.turned], "turned upright as EXIF says"),
        "thin": (
            [o for o in whole if _ratio(o) >= THIN],
            f"{THIN:g} times as long as wide, or more: stretched",
        ),
        "tiny": ([o for o in whole if _shorter(o) < TINY], f"with a side below {TINY} px"),
    }
    return [
        Finding(
            kind=kind,
            severity="note",
            text=f"{files(len(ones))} {what}.",
            examples=tuple(map(_described, ones[:EXAMPLES])),
        )
        for kind, (ones, what) in kinds.items()
        if ones
    ]


def _is_named_rightly(one: Seen) -> bool:
    return one.traits is None or one.sample.path.suffix.lower() in SUFFIXES[one.traits.format]


def _described(one: Seen) -> str:
    header, facts = one.header, one.traits
    return (
        f"{one.name}: {facts.format if facts else ''} {header.width} x {header.height} px"
        if header
        else one.name
    )


def _ratio(one: Seen) -> float:
    return max(one.header.width, one.header.height) / _shorter(one) if one.header else 1.0


def _shorter(one: Seen) -> int:
    return min(one.header.width, one.header.height) if one.header else 0


def sizes(seen: Sequence[Seen]) -> dict[str, int]:
    """Smallest, median and largest of the shorter and longer sides, in px; empty without a whole picture."""
    headers = [one.header for one in seen if one.header]
    if not headers:
        return {}
    short = sorted(min(h.width, h.height) for h in headers)
    long = sorted(max(h.width, h.height) for h in headers)
    middle = len(short) // 2
    return {
        "shortest": short[0],
        "median_short": short[middle],
        "median_long": long[middle],
        "longest": long[-1],
        "distinct": len({(h.width, h.height) for h in headers}),
    }


def modes(seen: Sequence[Seen]) -> dict[str, int]:
    """How many pictures have which of Pillow's modes."""
    return dict(Counter(one.header.mode for one in seen if one.header))
