"""Food-11: photos of eleven kinds of food; a class competition that forbids pretrained models."""

from pathlib import Path

from trainables.errors import UsageError
from trainables.kinds.classification import Classification
from trainables.layouts import Listing, home, prefixed, unlabelled
from trainables.metrics import ACCURACY
from trainables.submissions import CsvAnswer
from trainables.task import Baseline, Head, Rules, Splits, Task

LABEL = Head(name="label", classes=tuple(str(k) for k in range(11)))
SOURCE = "public leaderboard of kaggle.com/c/ml2022spring-hw3b"
GET = """Get it:   kaggle competitions download -c ml2022spring-hw3b -p {root}
          then unzip the file there, so that it looks like this:
          {root}/training/0_0.jpg ...     9,866 images, LABEL_NUMBER.jpg
          {root}/validation/0_0.jpg ...   3,430 images
          {root}/test/0000.jpg ...        3,347 images
or give the folder that holds these three with --data."""


def read(root: Path) -> Splits:
    """`training/{label}_{k}.jpg`, `validation/{label}_{k}.jpg`, `test/{id}.jpg` in `root` or its only folder.

    Without `validation` the splits have no valid part. Raises UsageError where another is missing or empty.
    """
    folder = home(root, needs=("training", "test"), task="food11", get=GET)
    train = prefixed(folder / "training", LABEL.classes)
    valid, test = Listing(samples=()), unlabelled(folder / "test")
    if (folder / "validation").is_dir():
        valid = prefixed(folder / "validation", LABEL.classes)
    if not test.samples:
        raise UsageError(f"{folder / 'test'} holds no images.", fix=GET.format(root=root))
    sample = folder / "sample_submission.csv"
    return Splits(
        train=train.samples,
        valid=valid.samples,
        test=test.samples,
        sample_submission=sample if sample.is_file() else None,
        notes=train.notes + valid.notes + test.notes,
    )


TASK = Task(
    name="food11",
    title="Food-11: eleven kinds of food",
    kind=Classification(heads=(LABEL,)),
    read=read,
    metric=ACCURACY,
    rules=Rules(
        pretrained=False,
        external_data=False,
        submissions_per_day=5,
        wording="no pretrained models, no external data, no search for the test labels, no prediction edited"
        " by hand; 5 submissions a day.",
    ),
    answer=CsvAnswer(head=LABEL),
    space="food11",
    baselines=(
        Baseline(name="simple", public=0.50099, source=SOURCE),
        Baseline(name="medium", public=0.73207, source=SOURCE),
        Baseline(name="strong", public=0.81872, source=SOURCE),
        Baseline(name="boss", public=0.88446, source=SOURCE),
    ),
)
