"""Every image decoded once: a uint8 memory map with a manifest, shared by all trials of a node.

A store is a folder `TASK-SIDE-FINGERPRINT` holding `images.u8` (uint8 [rows, side, side, 3], part after
part), `manifest.csv` (a line a row) and `store.json`. It appears whole, by one rename, or not at all.
"""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np

from trainables import atomic
from trainables.decode import DECODE_VERSION, Header, probe, write_row
from trainables.errors import DataError
from trainables.isolated import Children, Failure
from trainables.task import PARTS, Head, Sample, Splits, Task

FORMAT = 2
"""Version of the three files."""
QUARANTINE_LIMIT = 0.01
"""Share of bad pictures among those with labels at which a data set is refused."""
GRAY = 128
"""What stands in for a test picture that cannot be decoded: its row of the answer must exist."""
SPARE_BYTES = 64 << 20
"""Free space to leave on the disk."""
IMAGES, MANIFEST, SUMMARY = "images.u8", "manifest.csv", "store.json"
COLUMNS = ("part", "id", "file", "sha256", "width", "height", "mode", "label")

Progress = Callable[[int, int], None]


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
    targets: np.ndarray | None
    """int64 [n, heads]; None where the organisers keep the answers, or the part is empty."""
    images: np.ndarray
    """uint8 [n, side, side, 3], a read-only view of the memory map."""
    rows: np.ndarray | None = None
    """int64 [m]: only these rows are in the part, as in a fold; None means all."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """The decoded data; `parts` has every name of `trainables.task.PARTS`, empty ones with n = 0."""

    folder: Path
    side: int
    """Side of the images in px; smaller than asked where no picture of the data is as large."""
    fingerprint: str
    quarantined: tuple[Quarantined, ...]
    parts: Mapping[str, Part]
    heads: tuple[Head, ...] = ()
    """The heads that the targets answer."""
    notes: tuple[str, ...] = ()
    """Sentences for the user on how `prepare` came by it."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    part: str
    sample: Sample
    sha256: str
    fault: str
    header: Header | None = None

    @property
    def has_row(self) -> bool:
        return not self.fault or self.part == "test"


def prepare(
    task: Task,
    splits: Splits,
    *,
    side: int,
    root: Path,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Store:
    """The store of these splits with images of `side` px, made in `root` unless it is there already.

    A changed file, label, part or side makes another store. `progress` is told (done, total) images.
    Raises DataError when 1 % of the labelled pictures are bad, or the disk is full or read-only.
    """
    sources = _sources(splits)
    fingerprint = _fingerprint(task, side, sources)
    folder = root.absolute() / f"{task.name}-{side}-{fingerprint[:12]}"
    notes: tuple[str, ...] = ()
    if folder.is_dir():
        try:
            return open_store(folder)
        except DataError as error:
            notes = (f"{error.what} They were prepared anew.",)
    with atomic.disk_errors("The prepared images", root), atomic.building(folder) as temporary:
        if not _is_whole(folder):
            with Children(max(1, min(workers or _cpus(), len(sources) // 32))) as children:
                summary = _decode(children, sources, side, temporary, progress)
            heads = [asdict(head) for head in task.kind.heads]
            summary |= {"task": task.name, "fingerprint": fingerprint, "heads": heads}
            (temporary / SUMMARY).write_text(json.dumps(summary, indent=1))
            atomic.publish(temporary, folder)
    return replace(open_store(folder), notes=notes)


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
    if size != rows * side * side * 3 or summary["manifest_sha256"] != hashlib.sha256(manifest).hexdigest():
        raise _damaged(folder, "the files do not belong together")
    images = np.memmap(folder / IMAGES, np.uint8, "r", shape=(rows, side, side, 3)).view(np.ndarray)
    table = list(csv.DictReader(io.StringIO(manifest.decode(errors="surrogateescape"))))
    return Store(
        folder=folder,
        side=side,
        fingerprint=summary["fingerprint"],
        quarantined=tuple(Quarantined(**entry) for entry in summary["quarantined"]),
        parts=_parts(table, summary["rows"], images),
        heads=tuple(Head(**{**head, "classes": tuple(head["classes"])}) for head in summary["heads"]),
    )


def _parts(
    table: Sequence[Mapping[str, str]], rows: Mapping[str, int], images: np.ndarray
) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    start = 0
    for name in PARTS:
        stop = start + rows[name]
        labels = [line["label"].split() for line in table[start:stop]]
        parts[name] = Part(
            name=name,
            ids=tuple(line["id"] for line in table[start:stop]),
            targets=np.array(labels, dtype=np.int64) if labels and all(labels) else None,
            images=images[start:stop],
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


def _sources(splits: Splits) -> list[_Source]:
    """Every image of every part, in the order of the rows, with the hash of its file."""
    samples = [(name, sample) for name in PARTS for sample in splits.part(name)]
    with ThreadPoolExecutor(_cpus()) as pool:
        hashes = pool.map(_hash, [sample.path for _, sample in samples])
        return [
            _Source(part=name, sample=sample, sha256=sha256, fault=fault)
            for (name, sample), (sha256, fault) in zip(samples, hashes, strict=True)
        ]


def _hash(path: Path) -> tuple[str, str]:
    """(sha256 of a file, "") or ("", why it cannot be read)."""
    try:
        if not S_ISREG(path.stat().st_mode):
            return "", "no regular file"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), ""
    except OSError as error:
        return "", f"cannot be read: {error.strerror}"


def _fingerprint(task: Task, side: int, sources: Sequence[_Source]) -> str:
    rows = [(s.part, s.sample.id, s.sample.target, s.sha256) for s in sources]
    heads = [asdict(head) for head in task.kind.heads]
    content = [FORMAT, DECODE_VERSION, task.name, heads, side, rows]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode(
    children: Children, sources: Sequence[_Source], side: int, folder: Path, progress: Progress | None
) -> dict[str, Any]:
    """Decode into `folder`, leave out what is bad, write the manifest; the store's summary so far."""
    sources = _probe(children, sources)
    side = min(side, _largest(sources))
    _require_space(folder, len(sources) * side * side * 3)
    sources = _write_rows(children, sources, side, folder / IMAGES, progress)
    _refuse_if_many(sources)
    _close_gaps(folder / IMAGES, sources, side * side * 3)
    rows = [s for s in sources if s.has_row]
    manifest = _manifest(rows)
    (folder / MANIFEST).write_bytes(manifest)
    return {
        "format": FORMAT,
        "side": side,
        "rows": {name: sum(s.part == name for s in rows) for name in PARTS},
        "quarantined": [asdict(_quarantined(s)) for s in sources if s.fault],
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
    }


def _probe(children: Children, sources: Sequence[_Source]) -> list[_Source]:
    """The sources with their headers, or why they have none."""
    found = list(sources)
    asked = [i for i, s in enumerate(sources) if not s.fault]
    for k, answer in children.map(probe, [(sources[i].sample.path,) for i in asked]):
        i = asked[k]
        if isinstance(answer, Failure):
            found[i] = replace(sources[i], fault=answer.reason)
        else:
            found[i] = replace(sources[i], header=answer)
    return found


def _largest(sources: Sequence[_Source]) -> int:
    """The longest side, in px, of any picture: enlarging all of them would only cost room and time."""
    return max((max(s.header.width, s.header.height) for s in sources if s.header), default=1)


def _write_rows(
    children: Children, sources: Sequence[_Source], side: int, out: Path, progress: Progress | None
) -> list[_Source]:
    """Decode source i into row i of `out`; the sources come back with the faults found."""
    found = list(sources)
    out.touch()
    asked = [i for i, s in enumerate(sources) if not s.fault]
    calls = [(sources[i].sample.path, side, out, i) for i in asked]
    for done, (k, answer) in enumerate(children.map(write_row, calls), len(sources) - len(asked) + 1):
        if isinstance(answer, Failure):
            found[asked[k]] = replace(sources[asked[k]], fault=answer.reason)
        if progress:
            progress(done, len(sources))
    return found


def _require_space(folder: Path, size: int) -> None:
    free, needed = shutil.disk_usage(folder).free, size + SPARE_BYTES
    if free < needed:
        raise DataError(
            f"The prepared images need {needed / 1e6:,.0f} MB in {folder.parent}, which has"
            f" {free / 1e6:,.0f} MB free.",
            fix="Free some space there, choose another disk, or a smaller image size.",
        )


def _refuse_if_many(sources: Sequence[_Source]) -> None:
    """Raise DataError, with the list, when too many of the labelled pictures are bad."""
    labelled = [s for s in sources if s.part != "test"]
    bad = [s for s in labelled if s.fault]
    if not bad or len(bad) < QUARANTINE_LIMIT * len(labelled):
        return
    lines = [f"  {s.sample.path}: {s.fault}" for s in bad[:20]]
    if len(bad) > 20:
        lines.append(f"  ... and {len(bad) - 20} more")
    raise DataError(
        f"{len(bad)} of {len(labelled)} labelled pictures cannot be decoded"
        f" (fewer than {QUARANTINE_LIMIT:.0%} would be left out):\n" + "\n".join(lines),
        fix="Fetch the data again, or take these files out.",
    )


def _quarantined(source: _Source) -> Quarantined:
    return Quarantined(
        part=source.part, id=source.sample.id, file=str(source.sample.path), reason=source.fault
    )


def _close_gaps(out: Path, sources: Sequence[_Source], size: int) -> None:
    """Leave a row of `size` bytes to those that have one, gray where the picture is bad.

    By reads and writes, not through a map: there a full disk would end the process.
    """
    rows = [i for i, s in enumerate(sources) if s.has_row]
    with out.open("r+b") as file:
        for row, i in enumerate(rows):
            if row == i and not sources[i].fault:
                continue
            file.seek(i * size)
            pixels = bytes([GRAY]) * size if sources[i].fault else file.read(size)
            file.seek(row * size)
            file.write(pixels)
        file.truncate(len(rows) * size)


def _manifest(rows: Sequence[_Source]) -> bytes:
    """A line a row; `label` holds the class index of every head, nothing where it is unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for s in rows:
        header = (s.header.width, s.header.height, s.header.mode) if s.header else ("", "", "")
        label = " ".join(map(str, s.sample.target or ()))
        writer.writerow((s.part, s.sample.id, s.sample.path, s.sha256, *header, label))
    return text.getvalue().encode(errors="surrogateescape")
