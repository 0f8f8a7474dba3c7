"""Severstal: steel sheets with defects of several classes, each to be outlined."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from trainables.dense_layouts import Masked, named, run_length_table, sizes
from trainables.errors import DataError, UsageError
from trainables.exposures import scene_groups
from trainables.kinds.segmentation import Segmentation, labelled
from trainables.layouts import column_values, home, in_order
from trainables.mask_answers import APART, TOGETHER, MaskAnswer, answered_images, columns_of
from trainables.mask_decisions import MEAN_DICE, MaskDecision
from trainables.task import Baseline, Head, Rules, Sample, Splits, Task

DEFECT = Head(name="defect", classes=())
AGAIN = "Fetch the data again, or take the sample submission out of the data folder."
NEEDS = ("train.csv", "train_images", "test_images")
GET = """Download the competition's data and unpack them:
          kaggle competitions download -c severstal-steel-defect-detection -p {root}
          unzip {root}/severstal-steel-defect-detection.zip -d {root}
so that it looks like this:
          {root}/train.csv                      ImageId,ClassId,EncodedPixels, or the first two as one column
          {root}/train_images/0002cc93b.jpg ...
          {root}/test_images/00a83ce51.jpg ...
          {root}/sample_submission.csv          the order and the columns of the answer; may be missing
or give the folder that holds these with --data."""


def read(root: Path) -> Splits:
    """`train.csv`, `train_images/` and `test_images/` in `root` or its only folder.

    The classes are those of the sample submission, or where there is none those of `train.csv`. Raises
    UsageError where something is missing; DataError naming the line of an unknown image or class, of a mask
    that stands there twice or leaves its picture, and for a sample that asks for other pictures than those.
    """
    folder = home(root, needs=NEEDS, task="severstal", get=GET)
    table, sample = folder / "train.csv", folder / "sample_submission.csv"
    given = sample.is_file()
    head = replace(DEFECT, classes=classes_of(sample if given else table))
    train = run_length_table(table, folder / "train_images", classes=head.classes)
    scenes = scene_groups([sample.path for sample in train.samples])
    samples = tuple(replace(s, group=scene) for s, scene in zip(labelled(train), scenes, strict=True))
    test = named(folder / "test_images")
    if not test.samples:
        raise UsageError(f"{folder / 'test_images'} holds no images.", fix=GET.format(root=root))
    asked = _in_order_of(sample, test.samples) if given else test.samples
    columns = columns_of(sample) if given else TOGETHER
    return Splits(
        train=samples,
        test=asked,
        notes=(*train.notes, *test.notes, _all_empty(train), *_same_scenes(samples)),
        heads=(head,),
        answer=MaskAnswer(head=head, columns=columns, sizes=_sizes(asked)),
    )


def classes_of(table: Path) -> tuple[str, ...]:
    """The classes that a table of masks or a sample submission names, in either form."""
    if len(columns_of(table)) == 3:
        return column_values(table, APART[1])
    return in_order(key.rpartition("_")[2] for key in column_values(table, TOGETHER[0]))


def _in_order_of(sample: Path, test: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """The test images in the sample submission's order. Raises DataError unless it asks for just these."""
    pictures = {s.id: s for s in test}
    order = tuple(answered_images(sample))
    for these, others, what in (
        (order, pictures, "images of the sample submission have no picture"),
        (pictures, set(order), "test pictures are not in the sample submission"),
    ):
        alone = [id for id in these if id not in others]
        if alone:
            raise DataError(f"{sample}: {len(alone)} {what} (first: {min(alone)!r}).", fix=AGAIN)
    return tuple(pictures[id] for id in order)


def _sizes(samples: Sequence[Sample]) -> dict[str, tuple[int, int]]:
    """(height, width) of the pictures whose header can be read; the store tells of the others."""
    found: dict[str, tuple[int, int]] = {}
    for sample in samples:
        with suppress(DataError):
            found |= sizes([sample])
    return found


def _all_empty(masked: Masked) -> str:
    empty = [text == "" for texts in masked.runs for text in texts]
    return (
        f"The answer that finds nothing scores {sum(empty) / max(len(empty), 1):.4f} on the training images."
    )


def _same_scenes(samples: Sequence[Sample]) -> tuple[str, ...]:
    of_scenes = [sample.group for sample in samples if sample.group]
    if not of_scenes:
        return ()
    count = f"{len(of_scenes)} of {len(samples)} training images show {len(set(of_scenes))} scenes"
    return (f"{count} several times, in another light: no cut of ours parts those of one scene.",)


TASK = Task(
    name="severstal",
    title="Severstal: defects of steel sheets, outlined",
    kind=Segmentation(heads=(DEFECT,)),
    read=read,
    metric=MEAN_DICE,
    rules=Rules(
        pretrained=True,
        external_data=True,
        wording="nothing is said here of pretrained weights or external data; the number of submissions a day"
        " is limited.",
    ),
    answer=MaskAnswer(head=DEFECT),
    space="severstal",
    baselines=(
        Baseline(name="nothing found", public=0.8556, source="the 12th place's account of the competition"),
    ),
    decision=MaskDecision(),
    decides_trials=True,
)
