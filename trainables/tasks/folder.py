"""Any folder of labelled pictures: a folder a class or a table of labels, with or without parts."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainables.errors import DataError, UsageError
from trainables.kinds.classification import Classification
from trainables.layouts import SUFFIXES, header_of, in_order, readable, rows
from trainables.metrics import ACCURACY
from trainables.submissions import CsvAnswer, in_the_form_of
from trainables.task import Head, Rules, Sample, Splits, Task

LABEL = Head(name="label", classes=())
PART_NAMES = {
    "train": ("train", "training", "training_data", "train_images"),
    "valid": ("valid", "val", "validation", "dev"),
    "test": ("test", "testing", "testing_data", "test_images"),
}
ID_COLUMNS = ("id", "file", "filename", "file_name", "image", "image_id", "image_name", "path", "id_code")
LABEL_COLUMNS = ("label", "class", "category", "target")
WAYS = """Either a folder a class:      {root}/cat/1.jpg, {root}/dog/7.jpg ...
       or a table beside images:     {root}/labels.csv with the columns file,label
       each with or without parts:   {root}/train/..., {root}/valid/..., {root}/test/...
Say where it is with --data."""


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A picture of the data; `part` is "" outside of every part's folder, `inner` the folders below it."""

    path: Path
    part: str
    inner: tuple[str, ...]

    @property
    def name(self) -> str:
        """Path below the part's folder, as text."""
        return "/".join((*self.inner, readable(self.path.name)))


def read(root: Path) -> Splits:
    """The parts that were recognised in `root`; notes say what was found and assumed.

    Raises UsageError where there are no pictures, DataError for those that cannot be told apart.
    """
    if not root.is_dir():
        raise UsageError(f"No pictures: {root} is no folder.", fix=WAYS.format(root=root))
    home = _home(root)
    pictures, others = _pictures(home)
    if not pictures:
        raise UsageError(f"{home} holds no pictures.", fix=WAYS.format(root=root))
    notes = [] if home == root else [f"The data are taken from {home}."]
    if others:
        notes.append(f"Files that are no pictures were left out: {_first(others)}.")
    tables = _tables(home)
    named = _named(home, tables, pictures) if tables else {}
    splits = _split(home, pictures, named)
    how = f"the rows of {', '.join(readable(t.name) for t in tables)}" if tables else "the names of folders"
    sample = home / "sample_submission.csv"
    splits = replace(splits, notes=(*notes, f"Labels are {how}.", *splits.notes, *_empty(home, tables)))
    return in_the_form_of(sample, splits) if sample.is_file() and splits.test else splits


def _home(root: Path) -> Path:
    """The folder itself, or the one that lies alone in it and holds more than pictures."""
    entries = [p for p in root.iterdir() if p.name[0] != "."]
    if len(entries) != 1 or not entries[0].is_dir() or _part(entries[0].name):
        return root
    inside = [p for p in entries[0].iterdir() if p.name[0] != "."]
    holds_more = any(p.is_dir() or p.suffix.lower() == ".csv" for p in inside)
    return _home(entries[0]) if holds_more else root


def _part(name: str) -> str:
    return next((part for part, names in PART_NAMES.items() if name.lower() in names), "")


def _pictures(home: Path) -> tuple[list[_Picture], list[str]]:
    """Every picture below `home` in the order of the paths, and the names of the other files but tables."""
    pictures: list[_Picture] = []
    others: list[str] = []
    for file in _files(home):
        folders = file.relative_to(home).parts[:-1]
        part = _part(folders[0]) if folders else ""
        if file.suffix.lower() in SUFFIXES:
            inner = tuple(readable(f) for f in (folders[1:] if part else folders))
            pictures.append(_Picture(path=file, part=part, inner=inner))
        elif file.suffix.lower() != ".csv":
            others.append(readable(str(file.relative_to(home))))
    return pictures, others


def _files(home: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(home):
        folders[:] = sorted(f for f in folders if f[0] != ".")
        yield from (Path(folder, name) for name in sorted(names) if name[0] != ".")


def _tables(home: Path) -> list[Path]:
    """The tables of labels in the data's folder and in those of its parts.

    Raises DataError where `labels.csv` has no column for the picture or for the label.
    """
    places = [home, *(p for p in sorted(home.iterdir()) if p.is_dir() and _part(p.name))]
    found = []
    for table in (t for place in places for t in sorted(place.glob("*.csv"))):
        if table.name.startswith("sample"):
            continue
        if _columns(table) is not None:
            found.append(table)
        elif table.name == "labels.csv":
            raise DataError(
                f"{table}, line 1: no column for the picture and the label among {list(header_of(table))}.",
                fix=f"Name them as one of {', '.join(ID_COLUMNS)} and one of {', '.join(LABEL_COLUMNS)}.",
            )
    return found


def _columns(table: Path) -> tuple[str, str] | None:
    """The names of the columns of the picture and of the label, or None where one is missing."""
    header = {name.strip().lower(): name for name in reversed(header_of(table))}
    id = next((header[name] for name in ID_COLUMNS if name in header), None)
    label = next((header[name] for name in LABEL_COLUMNS if name in header), None)
    return None if id is None or label is None else (id, label)


def _named(home: Path, tables: Sequence[Path], pictures: Sequence[_Picture]) -> dict[Path, str]:
    """The label of every picture that a row names by its path, name or stem.

    Raises DataError for a row without label, of no picture, of several, or of one that has a row.
    """
    spellings: dict[str, list[Path]] = {}
    for p in pictures:
        below = readable(p.path.relative_to(home).as_posix())
        for spelling in {below, p.name, readable(p.path.name), readable(p.path.stem)}:
            spellings.setdefault(spelling, []).append(p.path)
    labels: dict[Path, str] = {}
    for table in tables:
        columns = _columns(table)
        assert columns is not None
        for line, (id, label) in rows(table, columns):
            where = f"{table}, line {line}"
            path = _the_one(spellings.get(id.removeprefix("./"), []), id, where, home)
            if path in labels:
                raise DataError(f"{where}: {id!r} has a row already.", fix="Leave one row a picture.")
            if not label.strip():
                raise DataError(f"{where}: no label for {id!r}.", fix="Label it, or take the row out.")
            labels[path] = label.strip()
    return labels


def _the_one(paths: Sequence[Path], id: str, where: str, home: Path) -> Path:
    if not paths:
        raise DataError(
            f"{where}: there is no picture {id!r} in {home}.", fix="Correct the name, or take the row out."
        )
    if len(paths) > 1:
        several = " and ".join(readable(p.relative_to(home).as_posix()) for p in paths[:2])
        raise DataError(f"{where}: {id!r} may be {several}.", fix="Write the path below the data's folder.")
    return paths[0]


def _split(home: Path, pictures: Sequence[_Picture], named: Mapping[Path, str]) -> Splits:
    """Pictures in their parts with their labels; those that have none are told in a note.

    Without a folder for training, what is in no part is trained on. Raises DataError as `read` does.
    """
    has_train = any(p.part == "train" for p in pictures)
    parts: dict[str, list[tuple[_Picture, str]]] = {"train": [], "valid": [], "test": [], "none": []}
    for p in pictures:
        part = p.part or ("none" if has_train else "train")
        label = named.get(p.path, "") if named else (p.inner[0] if p.inner else "")
        parts[part if label or part == "test" else "none"].append((p, label))
    if not parts["train"]:
        raise DataError(f"{len(pictures)} pictures in {home}, and no labels.", fix=WAYS.format(root=home))
    classes = in_order(label for _, label in parts["train"])
    labelled_test = [label for _, label in parts["test"] if label]
    known_test = len(labelled_test) == len(parts["test"]) and set(labelled_test) <= set(classes)
    return Splits(
        train=_samples(home, parts["train"], classes, "train"),
        valid=_samples(home, parts["valid"], classes, "valid"),
        test=_samples(home, parts["test"], classes if known_test else (), "test"),
        heads=(replace(LABEL, classes=classes),),
        notes=tuple(_assumed(home, parts, known_test=known_test)),
    )


def _samples(
    home: Path, pictures: Sequence[tuple[_Picture, str]], classes: Sequence[str], part: str
) -> tuple[Sample, ...]:
    """Samples of a part; a test part has the targets of `classes`, or none where these are empty."""
    index = {name: i for i, name in enumerate(classes)}
    samples = []
    for p, label in pictures:
        if label not in index and part != "test":
            raise DataError(
                f"{readable(str(p.path))}: class {label!r} of {part} has no training picture.",
                fix="Train on some of it, or take it out.",
            )
        id = p.name if part == "test" else readable(p.path.relative_to(home).as_posix())
        samples.append(Sample(id=id, path=p.path, target=(index[label],) if index else None))
    return tuple(samples)


def _assumed(
    home: Path, parts: Mapping[str, Sequence[tuple[_Picture, str]]], *, known_test: bool
) -> Iterator[str]:
    """Sentences on what was taken for what."""
    for part in ("train", "valid", "test"):
        tops = sorted({p.path.relative_to(home).parts[0] for p, _ in parts[part] if p.part})
        if tops:
            yield f"{part} is {', '.join(f'{readable(top)}/' for top in tops)}."
    if parts["test"] and known_test:
        yield "The test part has labels: they are scored, and choose nothing."
    if not parts["test"]:
        yield "No test part was found: there will be no submission."
    deep = [p for p, label in parts["train"] if len(p.inner) > 1 and p.inner[0] == label]
    if deep:
        yield f"Pictures deeper in a class folder are of that class: {_first([p.name for p in deep])}."
    left = [readable(p.path.relative_to(home).as_posix()) for p, _ in parts["none"]]
    if left:
        yield f"Pictures without a label were left out: {_first(left)}."


def _first(names: Sequence[str]) -> str:
    """The first of some names and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _empty(home: Path, tables: Sequence[Path]) -> list[str]:
    """A note on class folders without a picture."""
    tops = [p for p in sorted(home.iterdir()) if p.is_dir() and p.name[0] != "."]
    folders = [q for p in tops for q in (sorted(p.iterdir()) if _part(p.name) else [p]) if q.is_dir()]
    empty = [f for f in folders if not any(file.suffix.lower() in SUFFIXES for file in _files(f))]
    if tables or not empty:
        return []
    names = [readable(f.relative_to(home).as_posix()) for f in empty]
    return [f"Folders without pictures are no classes: {_first(names)}."]


TASK = Task(
    name="folder",
    title="Pictures of your own",
    kind=Classification(heads=(LABEL,)),
    read=read,
    metric=ACCURACY,
    rules=Rules(pretrained=True, external_data=True),
    answer=CsvAnswer(head=LABEL, columns=("file", "label")),
    space="folder",
)
