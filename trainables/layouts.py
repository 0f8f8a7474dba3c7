"""Readers of the usual ways to lay out labelled images on a disk."""

import csv
import os
from collections.abc import Iterable, Sequence
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


def home(root: Path, *, needs: Sequence[str], task: str, get: str) -> Path:
    """The folder that holds the files and folders `needs`: `root`, or the one folder in it.

    Raises UsageError with `get`, which says where the data come from; `{root}` in it is filled in.
    """
    fix = get.format(root=root)
    if not root.is_dir():
        raise UsageError(f"No {task} data: {root} does not exist.", fix=fix)
    folders = [p for p in root.iterdir() if p.is_dir() and p.name[0] != "."]
    inside = len(folders) == 1 and folders[0].name not in needs
    found = folders[0] if inside else root
    missing = [name if Path(name).suffix else f"{name}/" for name in needs if not (found / name).exists()]
    if missing:
        raise UsageError(f"No {task} data: {found} has no {' and no '.join(missing)}.", fix=fix)
    return found


def readable(name: str) -> str:
    """A file's name as text that can be printed: bytes that are no UTF-8 are spelled out."""
    return os.fsencode(name).decode(errors="backslashreplace")


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names of classes: by number where all are numbers, else by the alphabet."""
    distinct = set(names)
    numbers = all(name.isascii() and name.isdigit() for name in distinct)
    return tuple(sorted(distinct, key=lambda name: (int(name), name) if numbers else (0, name)))


def folder_names(folder: Path) -> tuple[str, ...]:
    """Names of the classes that have a folder in `folder`, in order. Raises UsageError without any."""
    names = in_order(readable(p.name) for p in _entries(folder) if p.is_dir() and p.name[0] != ".")
    if not names:
        raise UsageError(f"{folder} has no class folders.", fix=f"Put images into {folder}/CLASS/.")
    return names


def column_values(table: Path, column: str) -> tuple[str, ...]:
    """The distinct values of a column of a CSV, in order. Raises DataError and UsageError as `csv_labels`."""
    return in_order(value for _, (value,) in rows(table, (column,)))


def header_of(table: Path) -> tuple[str, ...]:
    """The names of a CSV's columns."""
    return tuple(_table(table)[0][1])


def unlabelled(folder: Path) -> Listing:
    """Every image of a folder; the id is the file's stem."""
    files, notes = _images(folder)
    return Listing(samples=tuple(Sample(id=readable(f.stem), path=f) for f in files), notes=notes)


def prefixed(folder: Path, classes: Sequence[str]) -> Listing:
    """`{label}_{k}.jpg`: the label stands before the first underscore. The id is the stem."""
    files, notes = _images(folder)
    index = {name: i for i, name in enumerate(classes)}
    samples = []
    for file in files:
        label, underscore, _ = file.stem.partition("_")
        if not underscore:
            raise DataError(f"{file}: its name holds no label.", fix="It should be LABEL_NUMBER.jpg.")
        target = (_class(index, readable(label), readable(str(file))),)
        samples.append(Sample(id=readable(file.stem), path=file, target=target))
    return Listing(samples=tuple(samples), notes=notes)


def class_folders(folder: Path, classes: Sequence[str]) -> Listing:
    """`{label}/*.jpg`: one folder a class; the id is `label/stem`. A class without a folder has no image."""
    index = {name: i for i, name in enumerate(classes)}
    samples: list[Sample] = []
    notes: list[str] = []
    for child in sorted(p for p in _entries(folder) if p.is_dir() and p.name[0] != "."):
        name = readable(child.name)
        target = (_class(index, name, readable(str(child))),)
        files, ignored = _images(child)
        notes += ignored
        samples += [Sample(id=f"{name}/{readable(f.stem)}", path=f, target=target) for f in files]
    return Listing(samples=tuple(samples), notes=tuple(notes))


def csv_labels(table: Path, folder: Path, *, columns: tuple[str, str], classes: Sequence[str]) -> Listing:
    """A CSV with a row an image, `columns` = (id, label); the id is the file's name or stem in `folder`.

    Images that have no row are left out with a note. Raises DataError naming the line of a broken row.
    """
    files, notes = _images(folder)
    by_id = {f.stem: f for f in files} | {f.name: f for f in files}
    index = {name: i for i, name in enumerate(classes)}
    samples: dict[Path, Sample] = {}
    for line, (id, label) in rows(table, columns):
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


def listed(table: Path, folder: Path, *, column: str) -> Listing:
    """The images of `folder` that a CSV names by their stem, in its order; a note on those that it does not.

    Raises DataError naming the line of an image that is not there, or named before.
    """
    files, notes = _images(folder)
    by_id = {readable(f.stem): f for f in files}
    samples: dict[str, Sample] = {}
    for line, (id,) in rows(table, (column,)):
        if id not in by_id or id in samples:
            what = f"{id!r} has a row already" if id in samples else f"there is no image {id!r} in {folder}"
            raise DataError(f"{table}, line {line}: {what}.", fix="Correct the id, or fetch the data again.")
        samples[id] = Sample(id=id, path=by_id[id])
    if len(samples) < len(files):
        notes = (*notes, f"{len(files) - len(samples)} images of {folder} have no row in {table.name}.")
    return Listing(samples=tuple(samples.values()), notes=notes)


def _table(table: Path) -> list[tuple[int, list[str]]]:
    """(line, fields) of every row of a CSV, the header first; it may be empty."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise UsageError(f"{table}: {error.strerror}.", fix="Check the data folder's layout.") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{table} is no whole CSV file: {error}.", fix="Fetch or save it again.") from error
    return lines or [(1, [])]


def rows(table: Path, columns: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
    """(line, the named columns) of every row of a CSV. Raises UsageError, DataError naming the line."""
    lines = _table(table)
    header = lines[0][1]
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            f"{table}, line 1: no column {missing[0]!r} among {header}.",
            fix="The first line names the columns.",
        )
    places = [header.index(name) for name in columns]
    for line, row in lines:
        if len(row) != len(header):
            raise DataError(
                f"{table}, line {line}: {len(row)} fields where the header has {len(header)}.",
                fix="Correct the line.",
            )
    return [(line, tuple(row[i] for i in places)) for line, row in lines[1:]]


def _images(folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The images of a folder by their suffix, and a note on the files that are none."""
    files = sorted(f for f in _entries(folder) if f.name[0] != ".")
    images = tuple(f for f in files if f.suffix.lower() in SUFFIXES and not f.is_dir())
    others = [readable(f.name) for f in files if f.is_dir() == (f.suffix.lower() in SUFFIXES)]
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
