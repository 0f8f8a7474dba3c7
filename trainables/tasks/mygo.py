"""MyGO: ten characters of an animated series; few images, and pretrained networks are allowed."""

from dataclasses import replace
from pathlib import Path

from trainables.errors import UsageError
from trainables.kinds.classification import Classification
from trainables.layouts import Listing, class_folders, folder_names, home, unlabelled
from trainables.metrics import ACCURACY
from trainables.submissions import CsvAnswer, in_the_form_of
from trainables.task import Baseline, Head, Rules, Splits, Task

LABEL = Head(name="label", classes=())
SOURCE = "the competition's public leaderboard"
GET = """Unpack the competition's data, so that it looks like this:
          {root}/train/CLASS/*.jpg ...   1,578 images, a folder a class
          {root}/valid/CLASS/*.jpg ...   300 images; val/ will do, and without it a part of train is taken
          {root}/test/*.jpg              500 images
or give the folder that holds these with --data."""


def read(root: Path) -> Splits:
    """`train/CLASS/*`, `valid` or `val/CLASS/*` and `test/*` in `root` or its only folder.

    The answer has the header of `sample_submission.csv`, and its ids are file names where the sample's
    are. Raises UsageError where train or test is missing or empty, DataError for a class in the
    validation part that train has not.
    """
    folder = home(root, needs=("train", "test"), task="mygo", get=GET)
    head = replace(LABEL, classes=folder_names(folder / "train"))
    train = class_folders(folder / "train", head.classes)
    valid, test = Listing(samples=()), unlabelled(folder / "test")
    for name in ("val", "valid"):
        if (folder / name).is_dir():
            valid = class_folders(folder / name, head.classes)
    if not test.samples:
        raise UsageError(f"{folder / 'test'} holds no images.", fix=GET.format(root=root))
    sample = folder / "sample_submission.csv"
    splits = Splits(
        train=train.samples,
        valid=valid.samples,
        test=test.samples,
        notes=train.notes + valid.notes + test.notes,
        heads=(head,),
    )
    return in_the_form_of(sample, splits) if sample.is_file() else splits


TASK = Task(
    name="mygo",
    title="MyGO: ten characters",
    kind=Classification(heads=(LABEL,)),
    read=read,
    metric=ACCURACY,
    rules=Rules(
        pretrained=True,
        external_data=True,
        submissions_per_day=5,
        final_picks=2,
        megabytes=(5.0, 150.0),
        wording="a model has 5 to 150 MB; 5 submissions a day, 2 final picks.",
    ),
    answer=CsvAnswer(head=LABEL, columns=("id", "label")),
    space="mygo",
    baselines=(
        Baseline(name="simple", public=0.45, private=0.45, source=SOURCE),
        Baseline(name="medium", public=0.70, private=0.70, source=SOURCE),
        Baseline(name="strong", public=0.83, private=0.83, source=SOURCE),
        Baseline(name="boss", public=0.94, private=0.94, source=SOURCE),
    ),
)
