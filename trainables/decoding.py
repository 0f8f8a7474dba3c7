"""All pictures of a data set decoded into one file, in processes that a broken one cannot take down."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainables import pixels
from trainables.decode import probe, write_square, write_whole
from trainables.errors import DataError
from trainables.isolated import Children, Failure
from trainables.raw_rows import close_gaps, starts_of
from trainables.scenes import row_sizes, shape_of
from trainables.sources import Source

QUARANTINE_LIMIT = 0.01
"""Share of bad pictures among those with labels at which a data set is refused."""
SPARE_BYTES = 64 << 20
"""Free space to leave on the disk."""

Progress = Callable[[int, int], None]
"""Told (done, total) images."""


def decode_all(
    children: Children, sources: Sequence[Source], side: int, out: Path, progress: Progress | None
) -> tuple[list[Source], int]:
    """Decode into the file `out`, leaving out what is bad; the sources with their faults, and the side in px.

    `side` 0 leaves each picture its size. Raises DataError when 1 % of the labelled pictures are bad, or
    there is no room.
    """
    sources = _probe(children, sources)
    side = min(side, _largest(sources))
    sizes = row_sizes(sources, side)
    _require_space(out.parent, sum(sizes))
    sources = _write_rows(children, sources, side, out, progress)
    pixels.write_all(_table_rows(sources), side, out, progress)
    _refuse_if_many(sources)
    kept = [None if not s.has_row else not s.fault for s in sources]
    close_gaps(out, kept, sizes)
    return sources, side


def _probe(children: Children, sources: Sequence[Source]) -> list[Source]:
    """The sources with their headers, or why they have none."""
    found = [s if s.sample.row is None else replace(s, header=pixels.HEADER) for s in sources]
    asked = [i for i, s in enumerate(sources) if not s.fault and s.sample.row is None]
    for k, answer in children.map(probe, [(sources[i].sample.path,) for i in asked]):
        i = asked[k]
        if isinstance(answer, Failure):
            found[i] = replace(sources[i], fault=answer.reason)
        else:
            found[i] = replace(sources[i], header=answer)
    return found


def _largest(sources: Sequence[Source]) -> int:
    """The longest side, in px, of any picture: enlarging all of them would only cost room and time."""
    return max((max(s.header.width, s.header.height) for s in sources if s.header), default=1)


def _write_rows(
    children: Children, sources: Sequence[Source], side: int, out: Path, progress: Progress | None
) -> list[Source]:
    """Decode the file of source i into row i of `out`; the sources come back with the faults found."""
    found = list(sources)
    out.touch()
    asked = [i for i, s in enumerate(sources) if not s.fault and s.sample.row is None]
    write, calls = _writing(sources, side, out, asked)
    for done, (k, answer) in enumerate(children.map(write, calls), len(sources) - len(asked) + 1):
        if isinstance(answer, Failure):
            found[asked[k]] = replace(sources[asked[k]], fault=answer.reason)
        if progress:
            progress(done, len(sources))
    return found


def _writing(
    sources: Sequence[Source], side: int, out: Path, asked: Sequence[int]
) -> tuple[Callable[..., None], list[tuple[Any, ...]]]:
    """What writes a picture, and what it is called with for each of those asked."""
    if side:
        return write_square, [(sources[i].sample.path, side, out, i) for i in asked]
    starts = starts_of(row_sizes(sources, side))
    shapes = [shape_of(source, side) for source in sources]
    return write_whole, [
        (sources[i].sample.path, shapes[i], sources[i].sample.shrink, out, starts[i]) for i in asked
    ]


def _table_rows(sources: Sequence[Source]) -> dict[Path, dict[int, int]]:
    """Of each table of pixels, the rows wanted of it and their places in the store."""
    wanted: dict[Path, dict[int, int]] = defaultdict(dict)
    for i, source in enumerate(sources):
        if source.sample.row is not None:
            wanted[source.sample.path][source.sample.row] = i
    return wanted


def _require_space(folder: Path, size: int) -> None:
    free, needed = shutil.disk_usage(folder).free, size + SPARE_BYTES
    if free < needed:
        raise DataError(
            f"The prepared images need {needed / 1e6:,.0f} MB in {folder.parent}, which has"
            f" {free / 1e6:,.0f} MB free.",
            fix="Free some space there, choose another disk, or a smaller image size.",
        )


def _refuse_if_many(sources: Sequence[Source]) -> None:
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
