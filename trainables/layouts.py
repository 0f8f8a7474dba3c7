"""Readers of the usual ways to lay out labelled images on a disk."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.errors import DataError, UsageError
from trainables.task import Sample

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"})


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of one part, in file-name order, and what the user should know of how they were found."""

    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()


def unlabelled(folder: Path) -> Listing:
    """Every image of a folder; the id is the file's stem."""
    files, notes = _images(folder)
    return Listing(samples=tuple(Sample(id=f.stem, path=f) for f in files), notes=notes)


def prefixed(folder: Path, classes: Sequence[str]) -> Listing:
    """`{label}_{k}.jpg`: the label stands before the first underscore. The id is the stem."""
    files, notes = _images(folder)
    index = {name: i for i, name in enumerate(classes)}
    samples = []
    for file in files:
        label, underscore, _ = file.stem.partition("_")
        if not underscore:
            raise DataError(f"{file}: its name holds no label.", fix="It should be LABEL_NUMBER.jpg.")
        samples.append(Sample(id=file.stem, path=file, target=(_class(index, label, str(file)),)))
    return Listing(samples=tuple(samples), notes=notes)


def class_folders(folder: Path, classes: Sequence[str]) -> Listing:
    """`{label}/*.jpg`: one folder a class; the id is `label/stem`. A class without a folder has no image."""
    index = {name: i for i, name in enumerate(classes)}
    samples: list[Sample] = []
    notes: list[str] = []
    for child in sorted(p for p in _entries(folder) if p.is_dir() and p.name[0] != "."):
        target = (_class(index, child.name, str(child)),)
        files, ignored = _images(child)
        notes += ignored
        samples += [Sample(id=f"{child.name}/{f.stem}", path=f, target=target) for f in files]
    return Listing(samples=tuple(samples), notes=tuple(notes))


def csv_labels(table: Path, folder: Path, *, columns: tuple[str, str], classes: Sequence[str]) -> Listing:
    """A CSV with a row an image, `columns` = (id, label); the id is the file's name or stem in `folder`.

    Images that have no row are left out with a note. Raises DataError naming the line of a broken row.
    """
    files, notes = _images(folder)
    by_id = {f.stem: f for f in files} | {f.name: f for f in files}
    index = {name: i for i, name in enumerate(classes)}
    samples: dict[Path, Sample] = {}
    for line, (id, label) in _rows(table, columns):
        where = f"{table}, line {line}"
        if id not in by_id:
            raise DataError(f"{where}: there is no image {id!r} in {folder}.", fix="Correct the id.")
        if by_id[id] in samples:
            raise DataError(f"{where}: {id!r} has a row already.", fix="Leave one row an image.")
        target = (_class(index, label, where),)
        samples[by_id[id]] = Sample(id=by_id[id].stem, path=by_id[id], target=target)
    if len(samples) < len(files):
        notes = (*notes, f"{len(files) - len(samples)} images of {folder} have no row in {table.name}.")
    return Listing(samples=tuple(samples[f] for f in files if f in samples), notes=notes)


def _rows(table: Path, columns: tuple[str, str]) -> list[tuple[int, tuple[str, str]]]:
    """(line, the two columns) of every row of a CSV."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise UsageError(f"{table}: {error.strerror}.", fix="Check the data folder's layout.") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{table} is no whole CSV file: {error}.", fix="Fetch or save it again.") from error
    header = lines[0][1] if lines else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            f"{table}, line 1: no column {missing[0]!r} among {header}.",
            fix="The first line names the columns.",
        )
    first, second = (header.index(name) for name in columns)
    for line, row in lines:
        if len(row) != len(header):
            raise DataError(
                f"{table}, line {line}: {len(row)} fields where the header has {len(header)}.",
                fix="Correct the line.",
            )
    return [(line, (row[first], row[second])) for line, row in lines[1:]]


def _images(folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The images of a folder by their suffix, and a note on the files that are none."""
    files = sorted(f for f in _entries(folder) if f.name[0] != "." and not f.is_dir())
    images = tuple(f for f in files if f.suffix.lower() in SUFFIXES)
    others = [f.name for f in files if f.suffix.lower() not in SUFFIXES]
    if not others:
        return images, ()
    return images, (f"{folder}: {len(others)} files are no images and were left out ({others[0]}).",)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}.", fix="Check the data folder's layout.") from error


def _class(index: dict[str, int], label: str, where: str) -> int:
    if label not in index:
        known = ", ".join(list(index)[:40]) + (", ..." if len(index) > 40 else "")
        raise DataError(f"{where}: unknown label {label!r}.", fix=f"Known labels: {known}.")
    return index[label]
