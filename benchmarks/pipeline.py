"""Images per CPU-second from files to normalised batches: ours from the cache, and ImageFolder's.

python -m benchmarks.pipeline [--data DIR] [--images N] [--rounds N] [--json]

Both take random resized crops (8 to 100 % of the area) to 128 px, flip half of them and normalise, on one
thread; the peer is ImageFolder, Pillow and torchvision's v2 transforms in a DataLoader without workers.
Ours reads a cache of 256 px and one of 160 px, each decoded once, which is timed apart. Rounds alternate;
medians. Four processes that read one cache tell how much more page cache they hold than one of them.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.photos import make_photos
from trainables.augment import Augment
from trainables.color import MEAN, STD
from trainables.config import TrialConfig
from trainables.feed import Feed
from trainables.kinds.classification import Classification
from trainables.layouts import class_folders
from trainables.metrics import ACCURACY
from trainables.store import Part, prepare
from trainables.submissions import CsvAnswer
from trainables.task import Head, Rules, Splits, Task

SIZE = 128
SIDES = (256, 160)
BATCH = 64
READERS = 4
PATIENCE_S = 120
CPU = torch.device("cpu")


def task_of(data: Path) -> Task:
    """The folder of class folders as a task."""
    label = Head(name="label", classes=tuple(sorted(p.name for p in data.iterdir() if p.is_dir())))
    return Task(
        name="photos",
        title="Photos",
        kind=Classification(heads=(label,)),
        metric=ACCURACY,
        space="food11",
        read=lambda root: Splits(train=class_folders(root, label.classes).samples, test=()),
        rules=Rules(pretrained=True, external_data=True),
        answer=CsvAnswer(head=label),
    )


def cache(data: Path, side: int, root: Path) -> tuple[Part, float]:
    """The decoded photos, and the CPU-seconds an image that decoding took."""
    task = task_of(data)
    before = _cpu_seconds()
    store = prepare(task, task.read(data), side=side, root=root)
    part = store.parts["train"]
    return part, (_cpu_seconds() - before) / len(part.ids)


def our_pass(part: Part) -> Callable[[], int]:
    """One epoch of ours; called, it returns how many images it gave."""
    config = TrialConfig(model="convnet", image_size=SIZE, crop=0.92, flip=True)
    feed, order = Feed(part, CPU), torch.Generator().manual_seed(0)
    augment = Augment(config, torch.Generator().manual_seed(1))
    return lambda: sum(
        len(augment.batch(feed, rows))
        for rows in feed.batches(torch.randperm(len(feed), generator=order), BATCH)
    )


def their_pass(data: Path) -> Callable[[], int]:
    """One epoch of ImageFolder's."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN.tolist(), STD.tolist()),
        ]
    )
    loader = DataLoader(ImageFolder(str(data), transform), batch_size=BATCH, shuffle=True)
    return lambda: sum(len(images) for images, _ in loader)


def rate(one_pass: Callable[[], int]) -> float:
    """Images per CPU-second of this process."""
    start = time.process_time()
    num_images = one_pass()
    seconds = time.process_time() - start
    return num_images / seconds


def measured(passes: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Median rate of each, after one pass that does not count."""
    rates: dict[str, list[float]] = {name: [] for name in passes}
    for round_ in range(rounds + 1):
        for name, one_pass in passes.items():
            value = rate(one_pass)
            if round_:
                rates[name].append(value)
    return {name: statistics.median(values) for name, values in rates.items()}


def held_memory(part: Part) -> tuple[float, float]:
    """Of `READERS` processes that each feed an epoch of the part at once: page cache in all over one's.

    A shared page counts by its share. Second, the MB that each one's own memory grew by, batches included.
    To be called before this process reads the part itself.
    """
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(READERS, timeout=PATIENCE_S), context.Queue()
    processes = [context.Process(target=_read, args=(part, barrier, answers)) for _ in range(READERS)]
    for process in processes:
        process.start()
    whole, shared, grown = zip(*(answers.get(timeout=PATIENCE_S) for _ in processes), strict=True)
    for process in processes:
        process.join()
    return sum(shared) / statistics.median(whole), statistics.median(grown) / 1000


def _read(part: Part, barrier: Barrier, answers: Any) -> None:
    before = _kilobytes("/proc/self/smaps_rollup", "Anonymous:", "")
    our_pass(part)()
    grown = _kilobytes("/proc/self/smaps_rollup", "Anonymous:", "") - before
    barrier.wait()
    whole, shared = (_kilobytes("/proc/self/smaps", field, "images.u8") for field in ("Rss:", "Pss:"))
    barrier.wait()
    answers.put((whole, shared, grown))


def _kilobytes(table: str, field: str, file: str) -> int:
    """The sum of a field of Linux's memory tables over the mappings whose name ends with `file`."""
    total, counted = 0, False
    for line in Path(table).read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            counted = line.endswith(file)
        elif counted and first == field:
            total += int(rest[0])
    return total


def _cpu_seconds() -> float:
    """Of this process and its ended children."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def benchmark(data: Path, scratch: Path, rounds: int) -> dict[str, Any]:
    caches = {side: cache(data, side, scratch) for side in SIDES}
    largest = caches[SIDES[0]][0]
    page_cache_ratio, grown = held_memory(largest)
    passes = {str(side): our_pass(part) for side, (part, _) in caches.items()}
    rates = measured({**passes, "peer": their_pass(data)}, rounds)
    return {
        "name": "pipeline",
        "against": "ImageFolder + Pillow + torchvision v2",
        "ratio": rates[str(SIDES[-1])] / rates["peer"],
        "ratio_256": rates["256"] / rates["peer"],
        "ratio_160": rates["160"] / rates["peer"],
        "images_per_cpu_second_256": rates["256"],
        "images_per_cpu_second_160": rates["160"],
        "against_images_per_cpu_second": rates["peer"],
        "decode_once_cpu_ms_256": 1000 * caches[256][1],
        "decode_once_cpu_ms_160": 1000 * caches[160][1],
        "page_cache_ratio": page_cache_ratio,
        "own_mb_a_reader": grown,
        "cache_mb": largest.images.nbytes / 1e6,
        "images": len(largest.ids),
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="class folders of photos, instead of made ones")
    parser.add_argument("--images", type=int, default=400, help="how many photos to make")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        data = arguments.data or make_photos(Path(scratch) / "photos", arguments.images)
        figures = benchmark(data, Path(scratch) / "stores", arguments.rounds)
    if arguments.json:
        print(json.dumps(figures))
        return
    print(
        f"images per CPU-second to {SIZE} px; {figures['images']} photos, {figures['rounds']} rounds, medians"
    )
    print(f"  ImageFolder + torchvision v2  {figures['against_images_per_cpu_second']:7.0f}")
    for side in SIDES:
        print(
            f"  ours, cache of {side} px        {figures[f'images_per_cpu_second_{side}']:7.0f}"
            f"   {figures[f'ratio_{side}']:.1f} times theirs; decoded once in"
            f" {figures[f'decode_once_cpu_ms_{side}']:.1f} CPU-ms an image"
        )
    print(
        f"{READERS} processes hold {figures['page_cache_ratio']:.3f} times the page cache of one"
        f" ({figures['cache_mb']:.0f} MB), and {figures['own_mb_a_reader']:.0f} MB each of their own"
    )


if __name__ == "__main__":
    main()
