"""Super-resolution by 3: the organisers keep the large side of Set14, and PSNR on luma counts."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from trainables.dense_layouts import high_resolution, sizes
from trainables.kinds.super_resolution import SuperResolution
from trainables.layouts import home, unlabelled
from trainables.maps import Maps
from trainables.picture_answers import PictureAnswer
from trainables.picture_metrics import mean_psnr, mean_ssim
from trainables.task import Baseline, Metric, Rules, Splits, Task

SCALE = 3
NEEDS = ("training_hr_images", "testing_lr_images")
GET = """Put the competition's pictures so that it looks like this:
          {root}/training_hr_images/2092.png ...    291 pictures at high resolution
          {root}/testing_lr_images/00.png ...       14 pictures at a third of theirs
or give the folder that holds these two with --data."""


def read(root: Path) -> Splits:
    """`training_hr_images/` and `testing_lr_images/` in `root` or its only folder.

    A training picture's small side is made of it. Raises UsageError where a folder is missing or empty,
    DataError for a test picture whose size cannot be read.
    """
    folder = home(root, needs=NEEDS, task="super_resolution", get=GET)
    large = high_resolution(folder / NEEDS[0], scale=SCALE)
    test = unlabelled(folder / NEEDS[1])
    return Splits(
        train=tuple(replace(s, target=(), truth=s.path, shrink=SCALE) for s in large.samples),
        test=test.samples,
        notes=large.notes + test.notes,
        answer=PictureAnswer(scale=SCALE, sizes=sizes(test.samples)),
    )


def each_psnr(predictions: Maps, truth: Maps) -> np.ndarray:
    """`mean_psnr` of each picture by itself, float64 [N]."""
    pairs = [(predictions.take([row]), truth.take([row])) for row in range(len(predictions))]
    return np.array([mean_psnr(picture, true) for picture, true in pairs])


PSNR = Metric(name="PSNR", direction="maximize", fn=mean_psnr, each=each_psnr)
SSIM = Metric(name="SSIM", direction="maximize", fn=mean_ssim)

TASK = Task(
    name="super_resolution",
    title="Super-resolution by 3: 291 pictures, Set14",
    kind=SuperResolution(scale=SCALE),
    read=read,
    metric=PSNR,
    beside=(SSIM,),
    rules=Rules(
        pretrained=False,
        external_data=False,
        wording="no pretrained model and no external data.",
    ),
    answer=PictureAnswer(scale=SCALE),
    space="super_resolution",
    baselines=(
        Baseline(name="bicubic", public=27.54, source="Kim et al., CVPR 2016, Set14"),
        Baseline(name="VDSR", public=29.77, source="Kim et al., CVPR 2016, Set14"),
    ),
    defaults={"flip": True, "vertical_flip": True, "tta": "eight"},
)
