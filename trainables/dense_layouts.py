"""Readers of pictures with an answer a pixel: tables of run lengths, folders of masks, pairs of pictures."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trainables.errors import DataError
from trainables.layouts import Listing, header_of, in_order, readable, rows, unlabelled
from trainables.run_lengths import encode, parsed
from trainables.task import Sample

VOID = 255
"""In a mask that holds other numbers too: the pixels that its makers left undecided."""


@dataclass(frozen=True, kw_only=True)
class Masked:
    """Images and their masks: `runs[i][k]` are the run lengths of class `classes[k]` in `samples[i]`."""

    samples: tuple[Sample, ...]
    runs: tuple[tuple[str, ...], ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Low-resolution pictures and the files of the high-resolution ones, `scale` times as large."""

    samples: tuple[Sample, ...]
    targets: tuple[Path, ...]
    scale: int
    notes: tuple[str, ...] = ()


def named(folder: Path) -> Listing:
    """Every image of a folder; the id is the file's name, as answers of segmentation spell it."""
    listing = unlabelled(folder)
    return replace(listing, samples=tuple(replace(s, id=readable(s.path.name)) for s in listing.samples))


def run_length_table(table: Path, folder: Path, *, classes: Sequence[str]) -> Masked:
    """A CSV with a row a mask: `ImageId,ClassId,EncodedPixels`, or `ImageId_ClassId,EncodedPixels`.

    An image of the folder without a row has no mask. Raises DataError naming the line of an unknown image
    or class, of a second row for the same, and of runs that overlap, descend or leave the picture.
    """
    listing = named(folder)
    index = {label: k for k, label in enumerate(classes)}
    pictures = {sample.id: sample for sample in listing.samples}
    found: dict[str, dict[int, str]] = {}
    for line, image, label, text in _rows_of_masks(table):
        where = f"{table}, line {line}"
        if image not in pictures:
            raise DataError(f"{where}: there is no image {image!r} in {folder}.", fix="Correct the id.")
        if label not in index:
            raise DataError(f"{where}: unknown class {label!r}.", fix=f"Known classes: {', '.join(classes)}.")
        masks = found.setdefault(image, {})
        if index[label] in masks:
            what = f"class {label!r} of {image!r} has a row already"
            raise DataError(f"{where}: {what}.", fix="Write all its runs into one row.")
        _check_runs(text, pictures[image].path, where)
        masks[index[label]] = text.strip()
    runs = tuple(_in_classes(found.get(s.id, {}), len(classes)) for s in listing.samples)
    return Masked(samples=listing.samples, runs=runs, classes=tuple(classes), notes=listing.notes)


def mask_folder(images: Path, masks: Path, *, classes: Sequence[str] = ()) -> Masked:
    """A folder of images and one of masks of the same stems: gray or palette pictures of class numbers.

    0 is no class; `classes` are the other numbers found, or those given. 255 beside other numbers is
    undecided and counts as no class. Raises DataError naming a mask that is missing, of another size than
    its image, damaged, or of a number that is no class.
    """
    listing = unlabelled(images)
    files = _by_stem(unlabelled(masks).samples, masks)
    by_number = [_numbers(sample, files, masks) for sample in _distinct(listing.samples, images)]
    values = {value for found in by_number for value in found}
    void = values > {VOID} and str(VOID) not in classes
    known = tuple(classes) or in_order(str(value) for value in values if not (void and value == VOID))
    index = {label: k for k, label in enumerate(known)}
    for sample, found in zip(listing.samples, by_number, strict=True):
        strange = sorted(v for v in found if str(v) not in index and not (void and v == VOID))
        if strange:
            what = f"the mask holds the number {strange[0]}, which is no class"
            raise DataError(f"{files[sample.id].path}: {what}.", fix=f"Known classes: {', '.join(known)}.")
    runs = tuple(
        _in_classes({index[str(v)]: text for v, text in found.items() if str(v) in index}, len(known))
        for found in by_number
    )
    notes = (f"{masks}: pixels of {VOID} count as no class.",) if void else ()
    return Masked(samples=listing.samples, runs=runs, classes=known, notes=(*listing.notes, *notes))


def picture_pairs(inputs: Path, targets: Path) -> Pairs:
    """A folder of small pictures and one of the same stems whose sides are all the same whole times larger.

    Raises DataError naming the picture that has no partner or is of another size than its partner asks for.
    """
    small, large = unlabelled(inputs), unlabelled(targets)
    files = _by_stem(large.samples, targets)
    _check_partners(_by_stem(small.samples, inputs), files, inputs, targets)
    scale = 0
    for sample in small.samples:
        times = _times(sample.path, files[sample.id].path)
        if scale not in (0, times):
            what = f"{times} times as large as {sample.path.name}, others are {scale} times as large"
            raise DataError(f"{files[sample.id].path}: {what}.", fix="Keep pairs of one factor together.")
        scale = times
    return Pairs(
        samples=small.samples,
        targets=tuple(files[s.id].path for s in small.samples),
        scale=scale,
        notes=(*small.notes, *large.notes),
    )


def high_resolution(folder: Path, *, scale: int) -> Listing:
    """Pictures to be shrunk by `scale`: those too small for it are left out with a note."""
    listing = unlabelled(folder)
    samples = tuple(s for s in listing.samples if min(_size(s.path)) >= scale)
    left = len(listing.samples) - len(samples)
    notes = (f"{folder}: {left} pictures are smaller than {scale} px and were left out.",) if left else ()
    return Listing(samples=samples, notes=(*listing.notes, *notes))


def sizes(samples: Iterable[Sample]) -> dict[str, tuple[int, int]]:
    """(height, width) of each picture by id, from its header. Raises DataError naming a damaged one."""
    return {sample.id: _size(sample.path) for sample in samples}


def _rows_of_masks(table: Path) -> Iterator[tuple[int, str, str, str]]:
    """(line, image, class, runs) of a table in either form."""
    from trainables.mask_answers import APART, TOGETHER

    if TOGETHER[0] not in header_of(table):
        yield from ((line, row[0], row[1], row[2]) for line, row in rows(table, APART))
        return
    for line, (key, text) in rows(table, TOGETHER):
        image, underscore, label = key.rpartition("_")
        if not underscore:
            raise DataError(f"{table}, line {line}: {key!r} holds no class.", fix="Write IMAGE_CLASS.")
        yield line, image, label, text


def _check_runs(text: str, picture: Path, where: str) -> None:
    """Raise DataError unless the runs fit the picture; of a damaged one the store tells."""
    try:
        height, width = _size(picture)
    except DataError:
        height, width = 0, 0
    try:
        parsed(text, pixels=height * width or None)
    except ValueError as error:
        size = f" (of {picture.name}, {width}x{height} px)" if width else ""
        raise DataError(f"{where}: {error}{size}.", fix="Correct the run lengths.") from error


def _in_classes(found: dict[int, str], count: int) -> tuple[str, ...]:
    return tuple(found.get(k, "") for k in range(count))


def _numbers(sample: Sample, files: dict[str, Sample], folder: Path) -> dict[int, str]:
    """The numbers above 0 in an image's mask and the run lengths of each."""
    if sample.id not in files:
        raise DataError(f"{sample.path} has no mask in {folder}.", fix="Add the mask, or take the image out.")
    values = _mask(files[sample.id].path)
    if values.shape != _size(sample.path):
        (height, width), (rows, columns) = _size(sample.path), values.shape
        what = f"a mask of {columns}x{rows} px for a picture of {width}x{height}"
        raise DataError(f"{files[sample.id].path}: {what}.", fix="Make them of one size.")
    return {int(value): encode(values == value) for value in np.unique(values) if value}


def _mask(path: Path) -> np.ndarray:
    """The numbers of a mask, uint8 [H, W]."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode, values = image.mode, np.asarray(image)
    except Exception as error:
        raise DataError(f"{path}: the mask cannot be read ({error}).", fix="Save it again.") from error
    if mode not in ("1", "L", "P"):
        what = f"a picture of mode {mode}, where a mask is gray or has a palette"
        raise DataError(f"{path}: {what}.", fix="Save the number of its class in each pixel, 8 bits.")
    return values.astype(np.uint8)


def _distinct(samples: tuple[Sample, ...], folder: Path) -> tuple[Sample, ...]:
    _by_stem(samples, folder)
    return samples


def _by_stem(samples: Sequence[Sample], folder: Path) -> dict[str, Sample]:
    """Samples by id. Raises DataError where two files have one stem."""
    found: dict[str, Sample] = {}
    for sample in samples:
        if sample.id in found:
            what = f"{found[sample.id].path.name} and {sample.path.name} have one name"
            raise DataError(f"{folder}: {what}.", fix="Rename or remove one.")
        found[sample.id] = sample
    return found


def _check_partners(small: dict[str, Sample], large: dict[str, Sample], inputs: Path, targets: Path) -> None:
    for these, others, folder in ((small, large, targets), (large, small, inputs)):
        alone = next((sample for id, sample in these.items() if id not in others), None)
        if alone is not None:
            raise DataError(f"{alone.path} has no partner in {folder}.", fix="Add it, or take this one out.")


def _times(small: Path, large: Path) -> int:
    """How many times as large the second picture is."""
    (height, width), (rows, columns) = _size(small), _size(large)
    if rows < height or (rows % height, columns % width) != (0, 0) or rows // height != columns // width:
        what = f"{columns}x{rows} px are no whole times the {width}x{height} of {small.name}"
        raise DataError(f"{large}: {what}.", fix="Crop it to a multiple.")
    return rows // height


def _size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture."""
    from trainables.decode import DecodeError, probe

    try:
        header = probe(path)
    except DecodeError as error:
        raise DataError(f"{path}: {error}.", fix="Fetch it again, or take it out.") from error
    return header.height, header.width
