"""The answer of instance segmentation: COCO's list of results as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables import atomic, coco_rle
from trainables.answer_files import read_answer
from trainables.errors import DataError, InvalidSubmission
from trainables.instances import Instances
from trainables.task import Head

FIELDS = ("image_id", "category_id", "segmentation", "score")


@dataclass(frozen=True, kw_only=True)
class CocoImage:
    """An image as the organisers' json numbers it; `size` is height and width in px."""

    id: int
    size: coco_rle.Size


@dataclass(frozen=True, kw_only=True)
class CocoAnswer:
    """Entries `{image_id, category_id, segmentation: {size, counts}, score}`, an object each.

    `images` are known by our ids; label k of a prediction is category `categories[k]`.
    """

    categories: tuple[int, ...]
    images: Mapping[str, CocoImage] = field(default_factory=dict)
    filename: str = "submission.json"

    def with_heads(self, heads: tuple[Head, ...]) -> "CocoAnswer":
        return self

    def write(self, predictions: Instances, path: Path) -> None:
        """Write the objects image by image, the best first.

        Raises DataError for a mask of another size than its image, an image that the organisers do not
        number, no object at all (COCO's reader refuses an empty list) or where the disk refuses.
        """
        entries = []
        for id, masks in zip(predictions.ids, predictions.images, strict=True):
            image = self._numbered(id, masks.size)
            for k in (-masks.scores).argsort(kind="stable").tolist():
                entries.append(
                    {
                        "image_id": image.id,
                        "category_id": self.categories[int(masks.labels[k])],
                        "segmentation": {"size": list(masks.size), "counts": masks.counts[k].decode("ascii")},
                        "score": round(float(masks.scores[k]), 5),
                    }
                )
        if not entries:
            raise DataError("Not one object was predicted, and COCO's reader refuses an empty answer.")
        with atomic.disk_errors("The submission", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(path, json.dumps(entries).encode())

    def _numbered(self, id: str, size: coco_rle.Size) -> CocoImage:
        if id not in self.images:
            raise DataError(f"The organisers' json does not number the image {id!r}.")
        if self.images[id].size != size:
            raise DataError(f"Image {id!r}: masks of {size} where the json says {self.images[id].size}.")
        return self.images[id]

    def check(self, path: Path, ids: Sequence[str]) -> None:
        """Raise InvalidSubmission with the first fault and its entry unless `COCO.loadRes` reads `path`.

        An image of `ids` may have any number of objects, none too; other images are refused. Entries
        are counted from 1.
        """
        sizes = {self.images[id].id: self.images[id].size for id in ids if id in self.images}
        for number, entry in enumerate(_entries(path), 1):
            fault = self._fault(entry, sizes)
            if fault:
                raise InvalidSubmission(f"{path}, entry {number}: {fault[0]}.", fix=fault[1])

    def _fault(self, entry: Any, sizes: Mapping[int, coco_rle.Size]) -> tuple[str, str] | None:
        """What is wrong with an entry, and how to mend it."""
        if not isinstance(entry, dict) or any(name not in entry for name in FIELDS):
            return "no object with all its fields", f"The fields are {', '.join(FIELDS)}."
        image, category, score = (entry[name] for name in ("image_id", "category_id", "score"))
        if not _is_whole(image) or image not in sizes:
            return f"no test image has the id {image!r}", f"Ids are numbers like {next(iter(sizes), 1)}."
        if not _is_whole(category) or category not in self.categories:
            known = ", ".join(map(str, self.categories[:20]))
            return f"unknown category_id {category!r}", f"Known: {known}."
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            return f"the score {score!r} is no number from 0 to 1", "Write the confidence."
        return _segmentation_fault(entry["segmentation"], sizes[image])


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _segmentation_fault(segmentation: Any, size: coco_rle.Size) -> tuple[str, str] | None:
    if not isinstance(segmentation, dict) or {"size", "counts"} - segmentation.keys():
        return "a segmentation without size and counts", "Masks are compressed run lengths."
    shape, counts = segmentation["size"], segmentation["counts"]
    if shape != list(size):
        swapped = " (height comes first)" if shape == list(size[::-1]) else ""
        return f"the mask's size {shape} is not the image's {list(size)}{swapped}", "Masks cover the image."
    if not isinstance(counts, str) or not counts.isascii():
        return "counts that are no string of run lengths", "Pack the run lengths as COCO does."
    try:
        coco_rle.check(coco_rle.unpack(counts.encode()), size)
    except DataError as error:
        return f"counts with {error.what}", "Pack the run lengths down the columns, zeros first."
    return None


def _entries(path: Path) -> list[Any]:
    """The entries of a list of results. Raises InvalidSubmission when it is none."""
    try:
        found = json.loads(read_answer(path).decode("utf-8"), parse_constant=_refused)
    except UnicodeDecodeError as error:
        raise InvalidSubmission(
            f"{path}: byte {error.start} is not UTF-8.", fix="Save the file as UTF-8."
        ) from error
    except RecursionError as error:
        raise InvalidSubmission(f"{path} is nested too deeply.", fix="Write the file again.") from error
    except json.JSONDecodeError as error:
        raise InvalidSubmission(
            f"{path}, line {error.lineno}: broken JSON ({error.msg}).", fix="Write the file again."
        ) from error
    except ValueError as error:
        raise InvalidSubmission(f"{path}: {error}.", fix="Every number must be finite.") from error
    if not isinstance(found, list) or not found:
        raise InvalidSubmission(
            f"{path} holds no list of objects.", fix="COCO's reader wants a list with one entry at least."
        )
    return found


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")
