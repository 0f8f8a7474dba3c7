"""Instance segmentation in COCO's form: a mask around each object."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trainables.coco_answers import CocoAnswer
from trainables.coco_layouts import Category, Coco, coco_json
from trainables.detection_metrics import Matched, average_precision, matched_masks
from trainables.errors import DataError
from trainables.instances import Instances
from trainables.kinds.instance_segmentation import InstanceSegmentation
from trainables.layouts import home
from trainables.task import Baseline, Head, Metric, Rules, Sample, Splits, Task

NEEDS = ("pascal_train.json", "test.json", "train_images", "test_images")
GET = """Put the competition's data into {root} so that it looks like this:
          {root}/pascal_train.json              COCO: images, categories, annotations
          {root}/test.json                      COCO without annotations
          {root}/train_images/2007_000033.jpg ...
          {root}/test_images/2007_000629.jpg ...
or give the folder that holds these four with --data."""


def coco_ap(predictions: Instances, truth: Instances) -> float:
    """COCO's mask AP over IoU 0.50 ... 0.95, from 0 to 1; 0 where the truth has no object to find."""
    return _ap(matched_masks(predictions, truth))


def _ap(images: Sequence[Matched]) -> float:
    value = average_precision(images).ap
    return value if value == value else 0.0


def labelled(found: Coco) -> tuple[Sample, ...]:
    """The samples with their masks as truth, and, to be stratified by, whether each class occurs."""
    return tuple(
        replace(
            sample,
            truth=tuple(
                (counts.decode("ascii"), int(label), int(score == 0))
                for counts, label, score in zip(masks.counts, masks.labels, masks.scores, strict=True)
            ),
            target=tuple(int((masks.labels == k).any()) for k in range(len(found.categories))),
        )
        for sample, masks in zip(found.samples, found.truth.images, strict=True)
    )


def head_of(categories: tuple[Category, ...]) -> Head:
    """The classes of a json."""
    return Head(name="object", classes=tuple(category.name for category in categories))


def read(root: Path) -> Splits:
    """`pascal_train.json`, `test.json`, `train_images/` and `test_images/` in `root` or its only folder.

    Raises UsageError where one is missing, DataError for a json that contradicts itself or the other one.
    """
    folder = home(root, needs=NEEDS, task="instance_segmentation", get=GET)
    train = coco_json(folder / "pascal_train.json", folder / "train_images")
    test = coco_json(folder / "test.json", folder / "test_images")
    _require_same(folder, _names(train), _names(test))
    return Splits(
        train=labelled(train),
        test=test.samples,
        notes=train.notes + test.notes,
        heads=(head_of(train.categories),),
        answer=CocoAnswer(categories=tuple(c.id for c in train.categories), images=test.images),
    )


def _names(found: Coco) -> Mapping[int, str]:
    return {category.id: category.name for category in found.categories}


def _require_same(folder: Path, train: Mapping[int, str], test: Mapping[int, str]) -> None:
    if train != test:
        odd = sorted(set(train.items()) ^ set(test.items()))[0]
        raise DataError(
            f"{folder}: pascal_train.json and test.json name other categories, for example {odd}.",
            fix="Fetch both files again.",
        )


def coco_ap50(predictions: Instances, truth: Instances) -> float:
    """COCO's mask AP at IoU 0.50 alone; 0 where the truth has no object to find."""
    value = average_precision(matched_masks(predictions, truth)).ap50
    return value if value == value else 0.0


MASK_AP = Metric(name="mask AP", direction="maximize", fn=coco_ap, each=matched_masks, total=_ap)
MASK_AP50 = Metric(name="mask AP50", direction="maximize", fn=coco_ap50)

TASK = Task(
    name="instance_segmentation",
    title="Instance segmentation, COCO form",
    kind=InstanceSegmentation(heads=(Head(name="object", classes=()),)),
    read=read,
    metric=MASK_AP,
    beside=(MASK_AP50,),
    rules=Rules(
        pretrained=True,
        external_data=False,
        wording="weights pretrained on COCO or VOC are forbidden, those of ImageNet are allowed; the result"
        " must be reproducible.",
    ),
    answer=CocoAnswer(categories=()),
    space="instance_segmentation",
    baselines=(
        Baseline(name="organisers' baseline", public=0.24672, source="the competition's leaderboard"),
        Baseline(name="best seen", public=0.70602, source="the competition's leaderboard"),
    ),
)
