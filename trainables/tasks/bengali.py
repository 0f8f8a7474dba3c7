"""Bengali.AI: handwritten graphemes, three questions of each; the pictures are rows of parquet tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainables.decisions import Offsets
from trainables.errors import DataError, UsageError
from trainables.kinds.classification import Classification
from trainables.layouts import home, in_order, rows
from trainables.metrics import weighted_recall
from trainables.row_answers import RowAnswer, row_id
from trainables.task import Head, Rules, Sample, Splits, Task

WEIGHTS = {"grapheme_root": 2.0, "vowel_diacritic": 1.0, "consonant_diacritic": 1.0}
HEADS = tuple(Head(name=name, classes=(), weight=weight) for name, weight in WEIGHTS.items())
TRAIN, TEST = "train_image_data_*.parquet", "test_image_data_*.parquet"
GET = """Download the competition's data and unpack them:
          kaggle competitions download -c bengaliai-cv19 -p {root}
          unzip {root}/bengaliai-cv19.zip -d {root}
so that it looks like this:
          {root}/train.csv        image_id,grapheme_root,vowel_diacritic,consonant_diacritic
          {root}/test.csv         row_id,image_id,component
          {root}/train_image_data_0.parquet ... 3
          {root}/test_image_data_0.parquet ... 3
or give the folder that holds these with --data."""


def read(root: Path) -> Splits:
    """`train.csv`, `test.csv` and the parquet tables in `root` or its only folder; no pixel is read.

    The classes are the labels of `train.csv`, the heads stand in the order of `test.csv`, which is the
    answer's. Raises UsageError where a file is missing, DataError for a damaged one, an image without its
    row, a row without its image, or one of either twice.
    """
    folder = home(root, needs=("train.csv", "test.csv"), task="bengali", get=GET)
    images, components = _asked(folder / "test.csv")
    heads, labels = _labels(folder / "train.csv", components)
    train, train_notes = _pictures(folder, TRAIN, labels, "train.csv")
    test, test_notes = _pictures(folder, TEST, dict.fromkeys(images), "test.csv")
    by_id = {sample.id: sample for sample in test}
    return Splits(
        train=train,
        test=tuple(by_id[id] for id in images),
        notes=train_notes + test_notes,
        heads=heads,
    )


def _labels(
    table: Path, components: Sequence[str]
) -> tuple[tuple[Head, ...], dict[str, tuple[int, ...] | None]]:
    """The heads, and each image's target."""
    found = rows(table, ("image_id", *components))
    values: list[set[str]] = [set(), set(), set()]
    seen: dict[str, int] = {}
    for line, (id, *labels) in found:
        if id in seen:
            raise DataError(
                f"{table}, line {line}: {id!r} stands in line {seen[id]} already.",
                fix="Leave one row an image.",
            )
        seen[id] = line
        for name, label, known in zip(components, labels, values, strict=True):
            if not (label.isascii() and label.isdigit()):
                raise DataError(
                    f"{table}, line {line}: {name} is {label!r}, no class.", fix="Write a whole number."
                )
            known.add(label)
    heads = tuple(
        Head(name=name, classes=in_order(known), weight=WEIGHTS[name])
        for name, known in zip(components, values, strict=True)
    )
    index = [{label: i for i, label in enumerate(head.classes)} for head in heads]
    return heads, {
        id: tuple(of[label] for of, label in zip(index, labels, strict=True)) for _, (id, *labels) in found
    }


def _asked(table: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The test images and the components asked of each, both in the order of test.csv."""
    found = rows(table, ("row_id", "image_id", "component"))
    images = tuple(dict.fromkeys(image for _, (_, image, _) in found))
    components = tuple(dict.fromkeys(component for _, (_, _, component) in found))
    if sorted(components) != sorted(WEIGHTS):
        raise DataError(
            f"{table} asks for {', '.join(components) or 'nothing'}, not for {', '.join(WEIGHTS)}.",
            fix="Fetch the file again.",
        )
    expected = [(image, component) for image in images for component in components]
    for (line, (id, image, component)), wanted in zip(found, expected, strict=False):
        if (image, component) != wanted or id != row_id(image, Head(name=component, classes=())):
            raise DataError(
                f"{table}, line {line}: row_id {id!r} of {image!r}, {component!r} where"
                f" '{wanted[0]}_{wanted[1]}' is due.",
                fix="Each image has its three components one after another, in the same order.",
            )
    if len(found) != len(expected):
        raise DataError(
            f"{table}: {len(found)} rows where {len(images)} images with three components have"
            f" {len(expected)}.",
            fix="Fetch the file again.",
        )
    return images, components


def _pictures(
    folder: Path, pattern: str, targets: Mapping[str, tuple[int, ...] | None], table: str
) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """A sample for each picture that `table` names, and a note on the others."""
    from trainables.pixels import read_table

    files = sorted(folder.glob(pattern), key=lambda p: (len(p.name), p.name))
    if not files:
        raise UsageError(f"{folder} has no {pattern}.", fix=GET.format(root=folder))
    samples: dict[str, Sample] = {}
    extra = []
    for file in files:
        for row, id in enumerate(read_table(file).ids):
            if id in samples:
                raise DataError(
                    f"{file}, row {row}: {id!r} is a picture of {samples[id].path.name} already.",
                    fix="Leave one picture an id.",
                )
            if id in targets:
                samples[id] = Sample(id=id, path=file, row=row, target=targets[id])
            else:
                extra.append(id)
    missing = [id for id in targets if id not in samples]
    if missing:
        names = ", ".join(file.name for file in files)
        raise DataError(
            f"{folder / table}: {len(missing)} images have no picture (first: {missing[0]!r}) in {names}.",
            fix=f"Fetch every {pattern}, or take these rows out of {table}.",
        )
    note = f"{len(extra)} pictures of {pattern} have no row in {table} (first: {(*extra, '')[0]!r})."
    return tuple(samples.values()), ((note,) if extra else ())


TASK = Task(
    name="bengali",
    title="Bengali.AI: handwritten graphemes in three parts",
    kind=Classification(heads=HEADS),
    read=read,
    metric=weighted_recall(WEIGHTS),
    rules=Rules(
        pretrained=True,
        external_data=True,
        wording="pretrained models are allowed, nothing is said of external data; the number of submissions"
        " a day is limited.",
    ),
    answer=RowAnswer(head=HEADS[0], heads=HEADS, columns=("row_id", "target")),
    space="bengali",
    decision=Offsets(),
)
