"""Cars-196: photos of 196 car models, told apart by details; the answer spells the model's name."""

from pathlib import Path

from trainables.errors import UsageError
from trainables.kinds.classification import Classification
from trainables.layouts import column_values, csv_labels, home, unlabelled
from trainables.metrics import ACCURACY
from trainables.submissions import CsvAnswer
from trainables.task import Baseline, Head, Rules, Splits, Task

LABEL = Head(name="label", classes=())
NEEDS = ("training_data", "testing_data", "training_labels.csv")
COLUMNS = ("id", "label")
GET = """Download the competition's data and unpack them, so that it looks like this:
          {root}/training_data/000001.jpg ...   11,185 images
          {root}/testing_data/000004.jpg ...    5,000 images
          {root}/training_labels.csv            id,label
or give the folder that holds these three with --data."""


def read(root: Path) -> Splits:
    """`training_data/*`, `testing_data/*` and `training_labels.csv` in `root` or its only folder.

    The classes are the labels of the table, sorted. Raises UsageError where something is missing,
    DataError for a row that names no image, or an image twice.
    """
    folder = home(root, needs=NEEDS, task="cars196", get=GET)
    table = folder / "training_labels.csv"
    classes = column_values(table, COLUMNS[1])
    train = csv_labels(table, folder / "training_data", columns=COLUMNS, classes=classes)
    test = unlabelled(folder / "testing_data")
    if not test.samples:
        raise UsageError(f"{folder / 'testing_data'} holds no images.", fix=GET.format(root=root))
    sample = folder / "sample_submission.csv"
    return Splits(
        train=train.samples,
        test=test.samples,
        sample_submission=sample if sample.is_file() else None,
        notes=train.notes + test.notes,
        heads=(Head(name="label", classes=classes),),
    )


TASK = Task(
    name="cars196",
    title="Cars-196: 196 models of cars",
    kind=Classification(heads=(LABEL,)),
    read=read,
    metric=ACCURACY,
    rules=Rules(
        pretrained=True,
        external_data=False,
        wording="no external data; the winning submission must be reproducible from the trained weights"
        " without retraining; the number of submissions a day is limited.",
    ),
    answer=CsvAnswer(head=LABEL, columns=COLUMNS),
    space="cars196",
    baselines=(Baseline(name="baseline", public=0.56153, source="the competition's public leaderboard"),),
)
