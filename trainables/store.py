"""Every image decoded once: a uint8 memory map with a manifest, shared by all trials of a node.

A store is a folder `TASK-SIDE-FINGERPRINT` holding `images.u8` (uint8 [rows, side, side, 3], part after
part), `manifest.csv` (a line a row) and `store.json`. Of a dense kind the side is 0, the pictures have their
own sizes, and `PART.truth` holds what is to be found in them. It appears whole, by one rename, or not at all.
"""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trainables import atomic, pixels
from trainables.decode import DECODE_VERSION, Header, probe
from trainables.decoding import Progress, decode_all
from trainables.duplicates import DUPLICATES_VERSION
from trainables.errors import DataError
from trainables.findings import Finding
from trainables.grouping import Decoded, key_of, settle
from trainables.isolated import Children, cpus
from trainables.raw_rows import reorder, rewrite
from trainables.scenes import (
    bytes_of,
    mapped,
    read_truth,
    row_sizes,
    shape_of,
    thumbnails,
    truth_of,
    write_truth,
)
from trainables.sources import Source, sources_of
from trainables.task import PARTS, DenseKind, Head, Sample, Splits, Task

FORMAT = 4
"""Version of the three files."""
IMAGES, MANIFEST, SUMMARY = "images.u8", "manifest.csv", "store.json"
COLUMNS = ("part", "id", "file", "sha256", "width", "height", "mode", "label", "group")


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """A picture that could not be decoded: left out, or gray where it is a test picture."""

    part: str
    id: str
    file: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the data; row i of `targets` and `images` belongs to `ids[i]`."""

    name: str
    ids: tuple[str, ...]
    targets: Any
    """int64 [n, heads], or predictions as the dense kind wants them; None where the organisers keep the
    answers, or the part is empty."""
    images: Any
    """uint8 [n, side, side, 3], or of a dense kind a tuple of uint8 [H, W, 3]: read-only views of the memory
    map."""
    rows: np.ndarray | None = None
    """int64 [m]: only these rows are in the part, as in a fold; None means all."""
    groups: tuple[str, ...] = ()
    """Of each row, the name of the group that no cut of ours parts; empty for a picture of its own."""

    @property
    def places(self) -> np.ndarray:
        """int64 [m]: the rows that are in the part."""
        return np.arange(len(self.ids)) if self.rows is None else self.rows


@dataclass(frozen=True, kw_only=True)
class Store:
    """The decoded data; `parts` has every name of `trainables.task.PARTS`, empty ones with n = 0."""

    folder: Path
    side: int
    """Side of the images in px; smaller than asked where no picture of the data is as large, and 0 where
    they keep their own sizes."""
    fingerprint: str
    quarantined: tuple[Quarantined, ...]
    parts: Mapping[str, Part]
    heads: tuple[Head, ...] = ()
    """The heads that the targets answer."""
    notes: tuple[str, ...] = ()
    """Sentences for the user on how `prepare` came by it."""
    findings: tuple[Finding, ...] = ()
    """Copies, conflicts, blanks and imbalance among the pictures."""


def prepare(
    task: Task,
    splits: Splits,
    *,
    side: int,
    root: Path,
    uncut: Splits | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Store:
    """The store of these splits with images of `side` px, made in `root` unless it is there already.

    A dense kind's pictures have their own size, whatever the side.
    `uncut` are the splits without the parts that we cut: these are cut anew where they part copies of one
    picture, and then the store's parts differ from those of `splits`.
    A changed file, label, part or side makes another store. `progress` is told (done, total) images.
    Raises DataError when 1 % of the labelled pictures are bad, or the disk is full or read-only.
    """
    dense = task.kind if isinstance(task.kind, DenseKind) else None
    side = side if dense is None else 0
    sources = sources_of(splits)
    fingerprint = _fingerprint(task, side, sources, recut=uncut is not None)
    folder = root.absolute() / f"{task.name}-{side}-{fingerprint[:12]}"
    notes: tuple[str, ...] = ()
    if folder.is_dir():
        try:
            return open_store(folder)
        except DataError as error:
            notes = (f"{error.what} They were prepared anew.",)
    with atomic.disk_errors("The prepared images", root), atomic.building(folder) as temporary:
        if not _is_whole(folder):
            with Children(max(1, min(workers or cpus(), len(sources) // 32))) as children:
                sources, side = decode_all(children, sources, side, temporary / IMAGES, progress)
            sources, findings = _settle(sources, side, temporary / IMAGES, splits, uncut, task.targets)
            if dense is not None:
                write_truth(dense, sources, temporary)
            summary = _summary(sources, side, temporary) | {
                "task": task.name,
                "fingerprint": fingerprint,
                "heads": [asdict(head) for head in task.kind.heads],
                "findings": [asdict(finding) for finding in findings],
            }
            (temporary / SUMMARY).write_text(json.dumps(summary, indent=1))
            atomic.publish(temporary, folder)
    return replace(open_store(folder), notes=notes)


def header_of(sample: Sample) -> Header:
    """Size and mode of an image, without its pixels. Raises DecodeError."""
    return probe(sample.path) if sample.row is None else pixels.HEADER


def open_store(folder: Path) -> Store:
    """Open what `prepare` made, without reading the images. Raises DataError when it is gone or damaged."""
    try:
        summary = json.loads((folder / SUMMARY).read_bytes())
        manifest = (folder / MANIFEST).read_bytes()
        size = (folder / IMAGES).stat().st_size
    except (OSError, ValueError) as error:
        raise _damaged(folder, str(error)) from error
    if summary.get("format") != FORMAT:
        raise _damaged(folder, "another version wrote them")
    side, rows = summary["side"], sum(summary["rows"].values())
    shapes = [tuple(shape) for shape in summary["shapes"]] or [(side, side)] * rows
    if size != bytes_of(shapes) or summary["manifest_sha256"] != hashlib.sha256(manifest).hexdigest():
        raise _damaged(folder, "the files do not belong together")
    images = mapped(folder / IMAGES, shapes, side)
    table = list(csv.DictReader(io.StringIO(manifest.decode(errors="surrogateescape"))))
    return Store(
        folder=folder,
        side=side,
        fingerprint=summary["fingerprint"],
        quarantined=tuple(Quarantined(**entry) for entry in summary["quarantined"]),
        parts=_parts(table, summary["rows"], images, folder),
        heads=tuple(Head(**{**head, "classes": tuple(head["classes"])}) for head in summary["heads"]),
        findings=tuple(Finding(**{**f, "examples": tuple(f["examples"])}) for f in summary["findings"]),
    )


def _parts(
    table: Sequence[Mapping[str, str]], rows: Mapping[str, int], images: Any, folder: Path
) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    start = 0
    for name in PARTS:
        stop = start + rows[name]
        labels = [line["label"].split() for line in table[start:stop]]
        known = np.array(labels, dtype=np.int64) if labels and all(labels) else None
        parts[name] = Part(
            name=name,
            ids=tuple(line["id"] for line in table[start:stop]),
            targets=read_truth(folder, name) if isinstance(images, tuple) else known,
            images=images[start:stop],
            groups=tuple(line["group"] for line in table[start:stop]),
        )
        start = stop
    return parts


def _damaged(folder: Path, why: str) -> DataError:
    return DataError(f"The prepared images in {folder} cannot be used: {why}.", fix="Run the search again.")


def _is_whole(folder: Path) -> bool:
    try:
        open_store(folder)
    except DataError:
        return False
    return True


def _fingerprint(task: Task, side: int, sources: Sequence[Source], *, recut: bool) -> str:
    rows = [(s.part, s.sample.id, s.sample.target, s.sha256, *truth_of(s.sample)) for s in sources]
    heads = [asdict(head) for head in task.kind.heads]
    content = [FORMAT, DECODE_VERSION, DUPLICATES_VERSION, recut, task.name, heads, side, rows]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _settle(
    sources: Sequence[Source],
    side: int,
    out: Path,
    splits: Splits,
    uncut: Splits | None,
    heads: Sequence[Head],
) -> tuple[list[Source], tuple[Finding, ...]]:
    """Cut anew what parts copies, and move the rows; the sources in their new parts and order."""
    rows = [s for s in sources if s.has_row]
    images = mapped(out, [shape_of(s, side) for s in rows], side)
    decoded = [Decoded(sample=s.sample, sha256=s.sha256, bad=bool(s.fault)) for s in rows]
    small = images if side else thumbnails(images)
    splits, findings = settle(small, decoded, splits, uncut, heads)
    source_of = {key_of(s.sample): s for s in sources}
    settled = [
        replace(source_of[key_of(sample)], part=name, sample=sample)
        for name in PARTS
        for sample in splits.part(name)
    ]
    row_of = {key_of(s.sample): k for k, s in enumerate(rows)}
    order = [row_of[key_of(s.sample)] for s in settled if s.has_row]
    if side:
        reorder(out, order, side * side * 3)
    else:
        rewrite(out, order, row_sizes(rows, side))
    return settled, findings


def _summary(sources: Sequence[Source], side: int, folder: Path) -> dict[str, Any]:
    """Write the manifest; the store's summary so far."""
    rows = [s for s in sources if s.has_row]
    manifest = _manifest(rows)
    (folder / MANIFEST).write_bytes(manifest)
    return {
        "format": FORMAT,
        "side": side,
        "shapes": [] if side else [shape_of(s, side) for s in rows],
        "rows": {name: sum(s.part == name for s in rows) for name in PARTS},
        "quarantined": [asdict(_quarantined(s)) for s in sources if s.fault],
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
    }


def _quarantined(source: Source) -> Quarantined:
    return Quarantined(
        part=source.part, id=source.sample.id, file=str(source.sample.path), reason=source.fault
    )


def _manifest(rows: Sequence[Source]) -> bytes:
    """A line a row; `label` holds the class index of every head, nothing where it is unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for s in rows:
        header = (s.header.width, s.header.height, s.header.mode) if s.header else ("", "", "")
        label = " ".join(map(str, s.sample.target or ()))
        writer.writerow((s.part, s.sample.id, s.sample.path, s.sha256, *header, label, s.sample.group))
    return text.getvalue().encode(errors="surrogateescape")
