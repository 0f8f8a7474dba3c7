"""Any folder of pictures beside one of masks: segmentation of one's own data."""

from pathlib import Path

from trainables.dense_layouts import mask_folder, named, sizes
from trainables.kinds.segmentation import Segmentation, labelled
from trainables.layouts import Listing, home
from trainables.mask_answers import MaskAnswer
from trainables.mask_decisions import MEAN_DICE, MaskDecision
from trainables.task import Head, Rules, Splits, Task

NEEDS = ("images", "masks")
GET = """Put your data so that it looks like this:
          {root}/images/1.jpg ...   pictures
          {root}/masks/1.png ...    gray pictures of the same names: 0 is nothing, every other number a class
          {root}/test/9.jpg ...     pictures to be answered; may be missing
and give the folder that holds these with --data."""


def read(root: Path) -> Splits:
    """`images/` and `masks/` in `root` or its only folder, and `test/` where there is one.

    The classes are the numbers in the masks. Raises UsageError where a folder is missing, DataError naming a
    mask that is missing, damaged or of another size than its picture.
    """
    folder = home(root, needs=NEEDS, task="own_masks", get=GET)
    found = mask_folder(folder / "images", folder / "masks")
    test = named(folder / "test") if (folder / "test").is_dir() else Listing(samples=())
    head = Head(name="mask", classes=found.classes)
    return Splits(
        train=labelled(found),
        test=test.samples,
        notes=(*found.notes, *test.notes),
        heads=(head,),
        answer=MaskAnswer(head=head, sizes=sizes(test.samples)),
    )


TASK = Task(
    name="own_masks",
    title="Masks of your own",
    kind=Segmentation(heads=(Head(name="mask", classes=()),)),
    read=read,
    metric=MEAN_DICE,
    rules=Rules(pretrained=True, external_data=True),
    answer=MaskAnswer(head=Head(name="mask", classes=())),
    space="severstal",
    decision=MaskDecision(),
    decides_trials=True,
)
