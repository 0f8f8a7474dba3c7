"""A reader of COCO's json: images, categories, and objects with polygons or run lengths."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainables import coco_rle
from trainables.box_layouts import box_row, four_finite, is_finite, picture_sizes, stated_size
from trainables.coco_answers import CocoImage
from trainables.errors import DataError, UsageError
from trainables.instances import Instances, Masks
from trainables.layouts import Listing, unlabelled
from trainables.task import Sample


@dataclass(frozen=True, kw_only=True)
class Category:
    """A class as COCO's json numbers it."""

    id: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Coco:
    """Images of a COCO json and the objects on them, in the json's order.

    A mask's label is the place of its category in `categories`. `images` are the json's numbers and
    sizes by our ids, the files' stems. In a json without annotations no image has an object.
    """

    samples: tuple[Sample, ...]
    truth: Instances
    categories: tuple[Category, ...]
    images: Mapping[str, CocoImage]
    notes: tuple[str, ...] = ()


def coco_json(file: Path, folder: Path) -> Coco:
    """COCO's json: images, categories and, except for a test part, annotations with masks.

    Polygons, run lengths as lists and as strings are read; an annotation with a box alone is masked by its
    box. Raises DataError naming the place of what contradicts: an id that is not there or there twice, a
    picture missing or of another size, a mask of another size, without a pixel or past the end.
    """
    data = _object(file)
    categories = _categories(file, data)
    samples, images, notes = _pictures(file, data, folder)
    by_number = {image.id: id for id, image in images.items()}
    labels = {category.id: k for k, category in enumerate(categories)}
    found: dict[str, list[tuple[bytes, int, int]]] = defaultdict(list)
    seen: set[Any] = set()
    for number, entry in enumerate(_list(file, data, "annotations", due=False)):
        where = f"{file}, annotations[{number}]"
        image = _known(where, entry, "image_id", by_number)
        label = _known(where, entry, "category_id", labels)
        _note_new(where, entry.get("id", f"entry {number}"), seen)
        runs = _mask(where, entry, images[image].size)
        found[image].append((coco_rle.pack(runs), label, 0 if entry.get("iscrowd") else 1))
    truth = Instances(
        ids=tuple(images), images=tuple(_masks(found[id], image.size) for id, image in images.items())
    )
    return Coco(samples=samples, truth=truth, categories=categories, images=images, notes=notes)


def _masks(objects: Sequence[tuple[bytes, int, int]], size: coco_rle.Size) -> Masks:
    return Masks(
        size=size,
        counts=tuple(counts for counts, _, _ in objects),
        labels=np.array([label for _, label, _ in objects], dtype=np.int64),
        scores=np.array([score for _, _, score in objects], dtype=np.float32),
    )


def _object(file: Path) -> dict[str, Any]:
    """The object that a json holds. Raises UsageError where there is no file, DataError where it is none."""
    try:
        data = json.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}.", fix="Check the data folder's layout.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: byte {error.start} is not UTF-8.", fix="Save it as UTF-8.") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{file} is no whole JSON file: {error}.", fix="Fetch or save it again.") from error
    if not isinstance(data, dict):
        raise DataError(f"{file} holds no object.", fix="COCO's json is an object with images, categories.")
    return data


def _list(file: Path, data: Mapping[str, Any], name: str, *, due: bool = True) -> list[dict[str, Any]]:
    """The list of objects under a name; empty where there is none and none is due. Raises DataError."""
    entries = data.get(name, None if due else [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{file}: no list of objects under {name!r}.", fix="COCO's json has one there.")
    return entries


def _categories(file: Path, data: Mapping[str, Any]) -> tuple[Category, ...]:
    found: dict[int, str] = {}
    for number, entry in enumerate(_list(file, data, "categories")):
        where = f"{file}, categories[{number}]"
        id = _whole(where, entry, "id")
        if id in found or not isinstance(entry.get("name"), str):
            what = f"the id {id} stands there already" if id in found else "no name"
            raise DataError(f"{where}: {what}.", fix="Every category has an id of its own and a name.")
        found[id] = entry["name"]
    if not found:
        raise DataError(f"{file} names no category.", fix="List the classes under 'categories'.")
    return tuple(Category(id=id, name=name) for id, name in sorted(found.items()))


def _pictures(
    file: Path, data: Mapping[str, Any], folder: Path
) -> tuple[tuple[Sample, ...], dict[str, CocoImage], tuple[str, ...]]:
    """The images of a json that lie in the folder, by stem, and notes on files that it does not name."""
    listing = unlabelled(folder)
    by_name = {sample.path.name: sample for sample in listing.samples}
    sizes = picture_sizes(listing.samples)
    samples: dict[str, Sample] = {}
    images: dict[str, CocoImage] = {}
    numbers: set[Any] = set()
    for number, entry in enumerate(_list(file, data, "images")):
        where = f"{file}, images[{number}]"
        name = Path(str(entry.get("file_name"))).name
        if name not in by_name or by_name[name].id in samples:
            what = (
                f"{name!r} stands there already" if name in by_name else f"there is no {name!r} in {folder}"
            )
            raise DataError(f"{where}: {what}.", fix="Correct file_name, or fetch the picture again.")
        sample, id = by_name[name], _whole(where, entry, "id")
        _note_new(where, id, numbers)
        size = (_whole(where, entry, "width"), _whole(where, entry, "height"))
        stated_size(where, (str(size[0]), str(size[1])), sizes.get(sample.id))
        samples[sample.id] = sample
        images[sample.id] = CocoImage(id=id, size=size[::-1])
    return tuple(samples.values()), images, (*listing.notes, *_unnamed(listing, samples, file))


def _unnamed(listing: Listing, samples: Mapping[str, Sample], file: Path) -> list[str]:
    left = len(listing.samples) - len(samples)
    return [f"{left} images of the folder are not in {file.name} and were left out."] if left else []


def _whole(where: str, entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{where}: {name} is {value!r}, no whole number.", fix="Correct the entry.")
    return value


def _note_new(where: str, id: Any, seen: set[Any]) -> None:
    """Add an id to those seen. Raises DataError for one that stood there before or is no plain value."""
    if not isinstance(id, int | str) or id in seen:
        raise DataError(f"{where}: the id {id!r} is not its own.", fix="Give every entry another id.")
    seen.add(id)


def _known(where: str, entry: Mapping[str, Any], name: str, known: Mapping[int, Any]) -> Any:
    """What the id under a name stands for. Raises DataError for one that the json does not list."""
    id = _whole(where, entry, name)
    if id not in known:
        raise DataError(f"{where}: unknown {name} {id}.", fix="Correct the entry, or list the id.")
    return known[id]


def _mask(where: str, entry: Mapping[str, Any], size: coco_rle.Size) -> np.ndarray:
    """An annotation's mask as run lengths. Raises DataError where it has none that fits."""
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, dict):
        runs = _given_runs(where, segmentation, size)
    elif segmentation:
        runs = coco_rle.from_polygons([_polygon(where, p, size) for p in _listed(segmentation)], size)
    else:
        box = four_finite(where, entry.get("bbox"), entry.get("bbox"))
        x1, y1, x2, y2 = box_row(where, box, size[::-1])[0][:4]
        corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
        runs = coco_rle.from_polygons([corners], size)
    if not coco_rle.area(runs):
        raise DataError(f"{where}: its mask has no pixel.", fix="Take the annotation out, or correct it.")
    return runs


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _polygon(where: str, numbers: Any, size: coco_rle.Size) -> np.ndarray:
    """A polygon's corners [K, 2]; a little over the edge is cut. Raises DataError."""
    flat = numbers if isinstance(numbers, list) else []
    if len(flat) < 6 or len(flat) % 2 or not all(map(is_finite, flat)):
        raise DataError(
            f"{where}: a polygon of {len(flat)} usable numbers.",
            fix="A polygon is x, y of three or more corners.",
        )
    corners = np.array(flat, dtype=np.float64).reshape(-1, 2)
    height, width = size
    if (corners.max(0) < 0).any() or (corners.min(0) > (width, height)).any():
        raise DataError(f"{where}: a polygon lies outside the picture.", fix="Take it out, or correct it.")
    return corners


def _given_runs(where: str, segmentation: Mapping[str, Any], size: coco_rle.Size) -> np.ndarray:
    """Run lengths of an annotation, as a list or packed. Raises DataError."""
    if segmentation.get("size") != list(size):
        raise DataError(
            f"{where}: a mask of {segmentation.get('size')} on a picture of {list(size)} (height, width).",
            fix="Masks have the size of their picture.",
        )
    counts = segmentation.get("counts")
    try:
        if isinstance(counts, str):
            runs = coco_rle.unpack(counts.encode())
        elif isinstance(counts, list) and all(isinstance(c, int) for c in counts):
            runs = np.array(counts, dtype=np.int64)
        else:
            raise DataError("no counts")
        coco_rle.check(runs, size)
    except (DataError, OverflowError) as error:
        raise DataError(
            f"{where}: run lengths that do not fit ({getattr(error, 'what', error)}).",
            fix="Runs go down the columns, zeros first, and fill the picture.",
        ) from error
    return runs
