"""APTOS 2019: retina photographs graded 0 to 4 by how far diabetes has damaged them."""

from pathlib import Path

from trainables.decisions import Thresholds
from trainables.kinds.ordinal import Ordinal
from trainables.layouts import csv_labels, home, listed
from trainables.metrics import QUADRATIC_KAPPA
from trainables.submissions import CsvAnswer
from trainables.task import Head, Rules, Splits, Task

GRADE = Head(name="diagnosis", classes=tuple("01234"))
COLUMNS = ("id_code", "diagnosis")
NEEDS = ("train.csv", "test.csv", "train_images", "test_images")
GET = """Download the competition's data and unpack them:
          kaggle competitions download -c aptos2019-blindness-detection -p {root}
          unzip {root}/aptos2019-blindness-detection.zip -d {root}
so that it looks like this:
          {root}/train.csv                      id_code,diagnosis
          {root}/test.csv                       id_code
          {root}/train_images/000c1434d8d7.png ...
          {root}/test_images/0005cfc8afb6.png ...
or give the folder that holds these four with --data."""


def read(root: Path) -> Splits:
    """`train.csv`, `test.csv`, `train_images/` and `test_images/` in `root` or its only folder.

    Raises UsageError where one is missing, DataError for a row whose image is missing, that stands there
    twice or has no grade of 0 to 4.
    """
    folder = home(root, needs=NEEDS, task="aptos2019", get=GET)
    train = csv_labels(folder / "train.csv", folder / "train_images", columns=COLUMNS, classes=GRADE.classes)
    test = listed(folder / "test.csv", folder / "test_images", column=COLUMNS[0])
    sample = folder / "sample_submission.csv"
    return Splits(
        train=train.samples,
        test=test.samples,
        sample_submission=sample if sample.is_file() else None,
        notes=train.notes + test.notes,
    )


TASK = Task(
    name="aptos2019",
    title="APTOS 2019: grades of diabetic retinopathy",
    kind=Ordinal(heads=(GRADE,)),
    read=read,
    metric=QUADRATIC_KAPPA,
    rules=Rules(
        pretrained=True,
        external_data=True,
        wording="pretrained models are allowed, nothing is said of external data; the number of submissions"
        " a day is limited.",
    ),
    answer=CsvAnswer(head=GRADE, columns=COLUMNS),
    space="aptos2019",
    decision=Thresholds(),
)
