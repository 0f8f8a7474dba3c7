"""Predictions with a value a pixel: masks and pictures, in one file that is read an image at a time."""

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np

from trainables import atomic
from trainables.errors import DataError

Form = Literal["byte", "half", "picture"]
"""How an image is stored: probabilities [C, H, W] in steps of 1/255 or as float16, or a picture [H, W, 3]."""

MAGIC = b"image maps 1\n"
LEVEL = 1
"""Of zlib: masks are mostly empty and shrink to a few percent at its fastest already."""
AGAIN = "Run the trial again."


class Images(Protocol):
    """Arrays by their place: a list of them, or something that reads or computes one when asked."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class Maps:
    """An array an image, of the image's own size; `images[i]` answers `ids[i]`.

    Probabilities are float32 [C, H, W], each class by itself (sigmoid, not softmax); pictures are uint8
    [H, W, 3]. `images` may be lazy, as it is after `load` and after a blend: then one image at a time is
    held, and nothing is read before `image`.
    """

    ids: tuple[str, ...]
    images: Images
    form: Form = "byte"

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.images):
            raise DataError(f"{len(self.images)} maps do not fit {len(self.ids)} ids.")

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Every image in order, each read when its turn comes."""
        return (self.image(row) for row in range(len(self)))

    def image(self, row: int) -> np.ndarray:
        """The map of `ids[row]`. Raises DataError where it is damaged or no map of the form."""
        return _checked(self.images[row], self.form, self.ids[row])

    def take(self, rows: Sequence[int] | np.ndarray) -> "Maps":
        """The given rows, in the given order; still nothing is read."""
        places = tuple(int(row) for row in np.asarray(rows, dtype=np.int64))
        return Maps(
            ids=tuple(self.ids[i] for i in places), images=_Chosen(self.images, places), form=self.form
        )

    def save(self, path: Path) -> None:
        """Write the file, image by image; atomic. Raises DataError for what is no map, and a full disk."""
        write(path, self.ids, self, form=self.form)

    @staticmethod
    def load(path: Path) -> "Maps":
        """Open what `save` wrote, reading its index only.

        Raises DataError on a file that is missing, cut or not ours.
        """
        try:
            with path.open("rb") as file:
                index = _index(file)
            form: Form = index["form"]
            places = tuple(_Place(a, b, c, tuple(shape)) for a, b, c, shape in index["places"])
            return Maps(ids=tuple(index["ids"]), images=_Stored(path, places, form), form=form)
        except Exception as error:
            raise DataError(f"{path}: these predictions cannot be read ({error}).", fix=AGAIN) from error


def write(path: Path, ids: Sequence[str], images: Iterable[np.ndarray], *, form: Form) -> None:
    """Write maps as they are made, an image in memory at a time; the file appears whole or not at all.

    The file: a line that names it; the images, each compressed; an index as json (ids, and of each image
    where it lies, its length, its checksum and its shape); the index' length and checksum, 12 bytes.
    Raises DataError unless every image is a map of the form and there is one an id.
    """
    with atomic.disk_errors("The predictions", path), atomic.appearing(path) as file:
        file.write(MAGIC)
        places: list[tuple[int, int, int, tuple[int, ...]]] = []
        for id, image in zip(ids, images, strict=True):
            packed = zlib.compress(_packed(_checked(image, form, id), form), LEVEL)
            places.append((file.tell(), len(packed), zlib.crc32(packed), image.shape))
            file.write(packed)
        index = json.dumps({"form": form, "ids": list(ids), "places": places}).encode()
        file.write(index + len(index).to_bytes(8) + zlib.crc32(index).to_bytes(4))


def quantised(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities 0..1 as uint8 in steps of 1/255, to the nearest."""
    steps: np.ndarray = np.rint(probabilities * np.float32(255)).astype(np.uint8)
    return steps


@dataclass(frozen=True)
class _Place:
    offset: int
    length: int
    checksum: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Stored:
    """The images of a file. It is opened for each, so that this can go to other processes."""

    path: Path
    places: tuple[_Place, ...]
    form: Form

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> np.ndarray:
        place = self.places[row]
        try:
            with self.path.open("rb") as file:
                file.seek(place.offset)
                packed = file.read(place.length)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}.", fix=AGAIN) from error
        if zlib.crc32(packed) != place.checksum:
            raise DataError(f"{self.path}: the map {row} in it is damaged.", fix=AGAIN)
        return _unpacked(zlib.decompress(packed), place.shape, self.form)


@dataclass(frozen=True)
class _Chosen:
    images: Images
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.images[self.rows[row]]


def _checked(image: np.ndarray, form: Form, id: str) -> np.ndarray:
    """The image, if it is one of the form."""
    if form == "picture":
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise DataError(f"{id!r}: a picture is uint8 [H, W, 3], not {image.dtype} {image.shape}.")
        return image
    if image.ndim != 3:
        raise DataError(f"{id!r}: a map is [C, H, W], not {image.shape}.")
    if image.size and not (image.min() >= 0 and image.max() <= 1):  # NaN fails both
        raise DataError(f"{id!r}: its map holds {image.min()} to {image.max()}, no probabilities.")
    return image


def _packed(image: np.ndarray, form: Form) -> bytes:
    match form:
        case "picture":
            return image.tobytes()
        case "byte":
            return quantised(image).tobytes()
        case "half":
            return image.astype("<f2").tobytes()


def _unpacked(data: bytes, shape: tuple[int, ...], form: Form) -> np.ndarray:
    if form == "half":
        return np.frombuffer(data, "<f2").reshape(shape).astype(np.float32)
    steps = np.frombuffer(data, np.uint8).reshape(shape)
    return steps if form == "picture" else steps * np.float32(1 / 255)


def _index(file: BinaryIO) -> dict[str, Any]:
    """The index at the end of an open file; ValueError where the file is cut or another."""
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("not a file of maps")
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 12, 0))
    length, checksum = int.from_bytes(file.read(8)), int.from_bytes(file.read(4))
    if length > size - 12 - len(MAGIC):
        raise ValueError("it is cut")
    file.seek(size - 12 - length)
    content = file.read(length)
    if zlib.crc32(content) != checksum:
        raise ValueError("it is cut or damaged")
    index: dict[str, Any] = json.loads(content)
    return index
