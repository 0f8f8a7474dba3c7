"""Tables of pixels: a parquet file with a row a picture, `image_id` and one column a gray value.

Such a file may hold fifty thousand pictures of 32,332 columns in a single row group, whose pages are of no
use one row at a time. So a group is read a block of columns at a time into a temporary file, and from there
some rows at a time: memory stays at about the size of a block, whatever the file's.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from trainables.decode import GAP, Header
from trainables.errors import DataError, UsageError
from trainables.isolated import Children, Failure, cpus

if TYPE_CHECKING:
    import pyarrow.parquet as pq

HEIGHT, WIDTH = 137, 236
"""Of every picture, in px; column `y * WIDTH + x` is the pixel of row y."""
COLUMNS = HEIGHT * WIDTH
HEADER = Header(WIDTH, HEIGHT, "L")
ID = "image_id"
BLOCK_BYTES = 8 << 20
"""Pixels that are read at once."""
ROWS_AT_ONCE = 1024
INK = 0.3
"""A pixel is ink from this share of the picture's largest distance from its background."""
MARGIN = 1.15
"""Side of the square that is cut out, relative to the ink's longer side."""
SMALLEST = 40
"""Side in px of the smallest square that is cut out: a lone dot stays a dot."""
TIME_LIMIT = 3600.0
"""Seconds that a row group may take: it may hold all pictures of its file."""
AGAIN = "Fetch the file again, whole."


@dataclass(frozen=True, kw_only=True)
class Table:
    """A file's pictures: their ids in the order of the rows, and how many rows each row group holds."""

    path: Path
    ids: tuple[str, ...]
    groups: tuple[int, ...]


def read_table(path: Path) -> Table:
    """The ids of a file of pixels, without its pixels.

    Raises UsageError where there is no file, DataError where it is truncated, has other columns than
    `image_id` and 0 .. 32331 of uint8, or an id twice or empty.
    """
    with _opened(path) as file:
        _check_columns(path, file)
        try:
            ids = ["" if id is None else str(id) for id in file.read(columns=[ID])[ID].to_pylist()]
        except Exception as error:
            raise _damaged(path, error) from error
        groups = _group_sizes(file)
    _check_ids(path, ids)
    return Table(path=path, ids=tuple(ids), groups=groups)


def write_all(
    wanted: Mapping[Path, Mapping[int, int]],
    side: int,
    out: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write rows of tables into rows of the raw file `out`, uint8 RGB [side, side, 3] each, in children.

    `wanted` has for each table row -> row of `out`. `progress` is told (done, total) pictures. Raises
    DataError where a table is damaged: its pictures are too many to go on without.
    """
    calls = [(path, *call) for path, rows in wanted.items() for call in _groups(path, rows)]
    if not calls:
        return
    done, total = 0, sum(map(len, wanted.values()))
    with Children(min(cpus(), len(calls)), time_limit=TIME_LIMIT) as children:
        for k, answer in children.map(write_group, [(*call, side, out) for call in calls]):
            path, group, places = calls[k]
            if isinstance(answer, Failure):
                raise DataError(f"{path}, row group {group}: {answer.reason}.", fix=AGAIN)
            done += len(places)
            if progress:
                progress(done, total)


def _groups(path: Path, wanted: Mapping[int, int]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """(row group, the (row of the group, row of the store) wanted from it) of those that matter."""
    start = 0
    with _opened(path) as file:
        sizes = _group_sizes(file)
    for group, size in enumerate(sizes):
        places = [(r - start, wanted[r]) for r in range(start, start + size) if r in wanted]
        if places:
            yield group, places
        start += size


def write_group(path: Path, group: int, places: Sequence[tuple[int, int]], side: int, out: Path) -> None:
    """Write rows of a row group, resized to uint8 RGB [side, side, 3], into the raw file `out`.

    `places` are (row of the group, row of `out`). Raises DataError where the group is damaged, OSError on a
    full disk.
    """
    wanted = dict(places)
    with _opened(path) as file, tempfile.TemporaryFile(dir=out.parent) as spool, out.open("r+b") as target:
        size = file.metadata.row_group(group).num_rows
        for values in _columns(path, file, group):
            spool.write(values)
        spool.flush()
        pixels = np.memmap(spool, np.uint8, "r", shape=(COLUMNS, size))
        for start in range(0, size, ROWS_AT_ONCE):
            pictures = pixels[:, start : start + ROWS_AT_ONCE].T.reshape(-1, HEIGHT, WIDTH)
            for row, picture in enumerate(pictures, start):
                if row in wanted:
                    target.seek(wanted[row] * side * side * 3)
                    target.write(square(picture, side).tobytes())


def square(picture: np.ndarray, side: int) -> np.ndarray:
    """The writing on a gray picture uint8 [H, W], centred and scaled to uint8 RGB [side, side, 3].

    A square around the ink, with a margin, is cut out; beyond the picture's edge its background goes on.
    Proportions stay. A picture without ink is shown whole.
    """
    ground = int(np.median(picture))
    top, left, size = _ink_square(picture, ground)
    cut = np.full((size, size), ground, np.uint8)
    y, x = max(top, 0), max(left, 0)
    seen = picture[y : top + size, x : left + size]
    cut[y - top :, x - left :][: seen.shape[0], : seen.shape[1]] = seen
    small = Image.fromarray(cut).resize((side, side), Image.Resampling.BICUBIC, reducing_gap=GAP)
    return np.asarray(small.convert("RGB"))


def _ink_square(picture: np.ndarray, ground: int) -> tuple[int, int, int]:
    """(top, left, size) in px of the square around what stands out from the background."""
    height, width = picture.shape
    distance = np.abs(picture.astype(np.int16) - ground)
    ink = distance > INK * max(int(distance.max()), 1)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if not len(rows):
        rows, columns = np.array([0, height - 1]), np.array([0, width - 1])
    extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    size = max(round(float(extent) * MARGIN), SMALLEST)
    middle = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
    return round(middle[0] - size / 2), round(middle[1] - size / 2), size


def _opened(path: Path) -> "pq.ParquetFile":
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist.", fix="Check the data folder's layout.") from error
    except Exception as error:
        raise _damaged(path, error) from error


def _group_sizes(file: "pq.ParquetFile") -> tuple[int, ...]:
    meta = file.metadata
    return tuple(meta.row_group(k).num_rows for k in range(meta.num_row_groups))


def _damaged(path: Path, error: Exception) -> DataError:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DataError(f"{path} is no whole parquet file: {line}", fix=AGAIN)


def _check_columns(path: Path, file: "pq.ParquetFile") -> None:
    import pyarrow as pa

    schema = file.schema_arrow
    types = dict(zip(schema.names, schema.types, strict=True))
    pixels = [name for name in types if name != ID]
    wanted = set(map(str, range(COLUMNS)))
    if ID not in types:
        raise DataError(f"{path}: no column {ID!r} among {list(types)[:5]} ...", fix=AGAIN)
    odd = [name for name in pixels if name not in wanted] or sorted(wanted - set(pixels), key=int)
    if odd:
        raise DataError(
            f"{path}: {len(pixels)} pixel columns where {HEIGHT} x {WIDTH} px are {COLUMNS}"
            f" (first wrong or missing: {odd[0]!r}).",
            fix=AGAIN,
        )
    wrong = [name for name in pixels if types[name] != pa.uint8()]
    if wrong:
        raise DataError(
            f"{path}: column {wrong[0]!r} holds {types[wrong[0]]}, not uint8 ({len(wrong)} such columns).",
            fix=AGAIN,
        )


def _check_ids(path: Path, ids: Sequence[str]) -> None:
    for row, id in enumerate(ids):
        if not id.strip():
            raise DataError(f"{path}, row {row}: no {ID}.", fix=AGAIN)
    twice = [id for id, count in Counter(ids).items() if count > 1]
    if twice:
        rows = ", ".join(str(row) for row, id in enumerate(ids) if id == twice[0])
        raise DataError(
            f"{path}: {ID} {twice[0]!r} stands in rows {rows} ({len(twice)} ids are there more than once).",
            fix="Leave one row a picture.",
        )


def _columns(path: Path, file: "pq.ParquetFile", group: int) -> Iterator[bytes]:
    """The pixels of a row group, column after column, each uint8 [rows]; a block of them is read at once."""
    width = max(64, BLOCK_BYTES // max(file.metadata.row_group(group).num_rows, 1))
    for start in range(0, COLUMNS, width):
        names = [str(k) for k in range(start, min(start + width, COLUMNS))]
        try:
            table = file.read_row_group(group, columns=names, use_threads=False)
        except Exception as error:
            raise _damaged(path, error) from error
        for name in names:
            column = table[name]
            if column.null_count:
                raise DataError(f"{path}: column {name!r} lacks {column.null_count} values.", fix=AGAIN)
            yield column.to_numpy().tobytes()
