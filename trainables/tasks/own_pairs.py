"""Any folder of small pictures beside one of the same, larger ones: super-resolution of one's own data."""

from dataclasses import replace
from pathlib import Path

from trainables.dense_layouts import picture_pairs, sizes
from trainables.kinds.super_resolution import SuperResolution
from trainables.layouts import Listing, home, unlabelled
from trainables.picture_answers import PictureAnswer
from trainables.task import Rules, Splits, Task
from trainables.tasks.super_resolution import PSNR, SSIM

NEEDS = ("low", "high")
GET = """Put your data so that it looks like this:
          {root}/low/1.png ...      small pictures
          {root}/high/1.png ...     the same ones, each side the same whole number of times larger
          {root}/test/9.png ...     small pictures to be enlarged; may be missing
and give the folder that holds these with --data."""


def read(root: Path) -> Splits:
    """`low/` and `high/` in `root` or its only folder, and `test/` where there is one.

    How many times larger is found in the pictures. Raises UsageError where a folder is missing, DataError
    naming a picture without a partner or of a size that its partner does not fit.
    """
    folder = home(root, needs=NEEDS, task="own_pairs", get=GET)
    found = picture_pairs(folder / "low", folder / "high")
    test = unlabelled(folder / "test") if (folder / "test").is_dir() else Listing(samples=())
    pairs = zip(found.samples, found.targets, strict=True)
    return Splits(
        train=tuple(replace(sample, target=(), truth=large) for sample, large in pairs),
        test=test.samples,
        notes=(*found.notes, *test.notes, f"Pictures are made {found.scale} times as large."),
        heads=SuperResolution(scale=found.scale).heads,
        answer=PictureAnswer(scale=found.scale, sizes=sizes(test.samples)),
    )


TASK = Task(
    name="own_pairs",
    title="Pairs of pictures of your own",
    kind=SuperResolution(),
    read=read,
    metric=PSNR,
    beside=(SSIM,),
    rules=Rules(pretrained=True, external_data=True),
    answer=PictureAnswer(),
    space="super_resolution",
)
