"""Global Wheat Detection: boxes around the heads of wheat in photographs of fields."""

from dataclasses import replace
from pathlib import Path

from trainables.box_answers import BoxAnswer
from trainables.box_layouts import box_table, picture_sizes
from trainables.kinds.detection import Detection
from trainables.layouts import home, unlabelled
from trainables.score_decision import ScoreThreshold, accepted_wheat_score, accepted_wheat_scores
from trainables.task import Head, Metric, Rules, Splits, Task

HEAD = Head(name="object", classes=("wheat",))
NEEDS = ("train.csv", "train", "test")
GET = """Download the competition's data and unpack them:
          kaggle competitions download -c global-wheat-detection -p {root}
          unzip {root}/global-wheat-detection.zip -d {root}
so that it looks like this:
          {root}/train.csv                      image_id,width,height,bbox,source
          {root}/train/b6ab77fd7.jpg ...
          {root}/test/2fd875eaa.jpg ...
or give the folder that holds these three with --data."""


def read(root: Path) -> Splits:
    """`train.csv`, `train/` and `test/` in `root` or its only folder.

    Raises UsageError where one is missing, DataError for a row that does not fit its picture.
    """
    folder = home(root, needs=NEEDS, task="global_wheat", get=GET)
    found = box_table(folder / "train.csv", folder / "train")
    labelled = (
        replace(sample, target=(), truth=tuple((*map(float, row[:4]), int(row[5])) for row in rows))
        for sample, rows in zip(found.samples, found.truth.images, strict=True)
    )
    test = unlabelled(folder / "test")
    sample = folder / "sample_submission.csv"
    return Splits(
        train=tuple(labelled),
        test=test.samples,
        sample_submission=sample if sample.is_file() else None,
        notes=found.notes + test.notes,
        answer=BoxAnswer(head=HEAD, sizes=picture_sizes(test.samples)),
    )


TASK = Task(
    name="global_wheat",
    title="Global Wheat Detection",
    kind=Detection(heads=(HEAD,)),
    read=read,
    metric=Metric(
        name="mean precision at IoU 0.50:0.75",
        direction="maximize",
        fn=accepted_wheat_score,
        each=accepted_wheat_scores,
    ),
    rules=Rules(
        pretrained=True,
        external_data=True,
        wording="pretrained weights are allowed where all may use them for the task at hand.",
    ),
    answer=BoxAnswer(head=HEAD),
    space="global_wheat",
    decision=ScoreThreshold(),
)
