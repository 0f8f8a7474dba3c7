"""Clip art of 65 kinds: ResNet-50 fine-tuned (A) and from scratch (B), and a network of our own (C)."""

from pathlib import Path

from trainables.errors import UsageError
from trainables.kinds.classification import Classification
from trainables.layouts import Listing, class_folders, folder_names, home, unlabelled
from trainables.metrics import ACCURACY
from trainables.submissions import CsvAnswer
from trainables.task import Head, Rules, Splits, Task

LABEL = Head(name="label", classes=())
MACS = 300e6
"""Our bound on model C, per image: as much as MobileNetV2 takes at 224 px (Sandler et al., 2018)."""
GET = """Unpack the course's data, so that it looks like this:
          {root}/train/0/*.jpg ... {root}/train/64/*.jpg
          {root}/valid/0/*.jpg ... {root}/valid/64/*.jpg
          {root}/test/*.jpg
or give the folder that holds these three with --data."""


def read(root: Path) -> Splits:
    """`train/{k}/*`, `valid/{k}/*` and `test/*` below `root` or its only folder, whatever the classes.

    Without `valid` the splits have no valid part. Raises UsageError where another is missing or empty,
    DataError for a class in `valid` that `train` has not.
    """
    folder = home(root, needs=("train", "test"), task="clipart65", get=GET)
    classes = folder_names(folder / "train")
    train = class_folders(folder / "train", classes)
    valid, test = Listing(samples=()), unlabelled(folder / "test")
    if (folder / "valid").is_dir():
        valid = class_folders(folder / "valid", classes)
    if not test.samples:
        raise UsageError(f"{folder / 'test'} holds no images.", fix=GET.format(root=root))
    return Splits(
        train=train.samples,
        valid=valid.samples,
        test=test.samples,
        notes=train.notes + valid.notes + test.notes,
        heads=(Head(name="label", classes=classes),),
    )


TASK = Task(
    name="clipart65",
    title="Clip art of 65 kinds",
    kind=Classification(heads=(LABEL,)),
    read=read,
    metric=ACCURACY,
    rules=Rules(
        pretrained=False,
        external_data=False,
        macs=MACS,
        wording="model C is an architecture of one's own, unlike the main-stream ones, trained from scratch"
        " and at a reasonable computing cost; no external data.",
    ),
    answer=CsvAnswer(head=LABEL, columns=("id", "label"), filename="submission.txt", gap=" "),
    space="clipart65",
    space_rules={
        "clipart65_a": Rules(
            pretrained=True,
            external_data=False,
            wording="model A is a ResNet-50 with ImageNet weights, fine-tuned; no external data.",
        ),
        "clipart65_b": Rules(
            pretrained=False,
            external_data=False,
            wording="model B is a ResNet-50 trained from scratch; no external data.",
        ),
    },
)
