"""Any folder of pictures with a COCO json: a mask around each object of one's own data."""

from pathlib import Path

from trainables.box_layouts import picture_sizes
from trainables.coco_answers import CocoAnswer, CocoImage
from trainables.coco_layouts import coco_json
from trainables.kinds.instance_segmentation import InstanceSegmentation
from trainables.layouts import Listing, home, unlabelled
from trainables.task import Head, Rules, Splits, Task
from trainables.tasks.instance_segmentation import MASK_AP, MASK_AP50, head_of, labelled

JSON = "annotations.json"
NEEDS = (JSON, "images")
GET = """Put your data so that it looks like this:
          {root}/annotations.json   COCO: images, categories, annotations with segmentation or bbox
          {root}/images/1.jpg ...   the pictures that it names
          {root}/test/9.jpg ...     pictures to be answered; may be missing
and give the folder that holds these with --data."""


def read(root: Path) -> Splits:
    """`annotations.json` and `images/` in `root` or its only folder, and `test/` where there is one.

    Test pictures are numbered from 1 in the order of their names. Raises UsageError where something is
    missing, DataError for a json that contradicts itself or its pictures.
    """
    folder = home(root, needs=NEEDS, task="own_objects", get=GET)
    found = coco_json(folder / JSON, folder / "images")
    test = unlabelled(folder / "test") if (folder / "test").is_dir() else Listing(samples=())
    numbered = enumerate(picture_sizes(test.samples).items(), start=1)
    images = {id: CocoImage(id=number, size=(height, width)) for number, (id, (width, height)) in numbered}
    return Splits(
        train=labelled(found),
        test=test.samples,
        notes=(*found.notes, *test.notes),
        heads=(head_of(found.categories),),
        answer=CocoAnswer(categories=tuple(c.id for c in found.categories), images=images),
    )


TASK = Task(
    name="own_objects",
    title="Objects of your own",
    kind=InstanceSegmentation(heads=(Head(name="object", classes=()),)),
    read=read,
    metric=MASK_AP,
    beside=(MASK_AP50,),
    rules=Rules(pretrained=True, external_data=True),
    answer=CocoAnswer(categories=()),
    space="instance_segmentation",
)
