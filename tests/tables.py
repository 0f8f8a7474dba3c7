"""A small folder in the layout of the handwriting competition, with real tables of pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainables.pixels import COLUMNS, HEIGHT, ID, WIDTH

NAMES = ("grapheme_root", "vowel_diacritic", "consonant_diacritic")


def picture(seed: int) -> np.ndarray:
    """A dark stroke of its own on light paper, uint8 [HEIGHT, WIDTH]."""
    rng = np.random.default_rng(seed)
    paper = np.full((HEIGHT, WIDTH), 250, np.uint8)
    top, left = rng.integers(10, 60), rng.integers(10, 120)
    height, width = rng.integers(30, 60, 2)
    paper[top : top + height, left : left + width] = rng.integers(0, 120, (height, width))
    return paper


def write_table(path: Path, ids: Sequence[str | None], pictures: np.ndarray, *, rows: int = 5) -> None:
    """A parquet file with `rows` pictures a row group."""
    flat = np.ascontiguousarray(pictures.reshape(len(ids), COLUMNS).T)
    columns = [pa.array(list(ids), pa.string()), *map(pa.array, flat)]
    table = pa.Table.from_arrays(columns, names=[ID, *map(str, range(COLUMNS))])
    pq.write_table(table, path, row_group_size=rows, use_dictionary=False, write_statistics=False)


def labels_of(count: int) -> list[tuple[int, int, int]]:
    return [(k % 3, k % 2, (k // 2) % 2) for k in range(count)]


def bengali_folder(root: Path, *, train: int = 24, test: int = 4) -> Path:
    """Two tables of training pictures, one of test pictures, and the two lists."""
    root.mkdir(parents=True)
    half = train // 2
    pictures = np.stack([picture(k) for k in range(train)])
    for part, (start, stop) in enumerate(((0, half), (half, train))):
        ids = [f"Train_{k}" for k in range(start, stop)]
        write_table(root / f"train_image_data_{part}.parquet", ids, pictures[start:stop])
    asked = np.stack([picture(1000 + k) for k in range(test)])
    write_table(root / "test_image_data_0.parquet", [f"Test_{k}" for k in range(test)], asked)
    lines = [f"Train_{k},{r},{v},{c}" for k, (r, v, c) in enumerate(labels_of(train))]
    (root / "train.csv").write_text("\n".join([f"image_id,{','.join(NAMES)}", *lines]) + "\n")
    components = (NAMES[2], NAMES[0], NAMES[1])
    asks = [f"Test_{k}_{name},Test_{k},{name}" for k in range(test) for name in components]
    (root / "test.csv").write_text("\n".join(["row_id,image_id,component", *asks]) + "\n")
    return root
