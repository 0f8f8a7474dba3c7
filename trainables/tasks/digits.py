"""The 1,797 handwritten digits of scikit-learn, as image files: the data set that needs no download."""

from dataclasses import replace
from pathlib import Path

from trainables import atomic
from trainables.errors import UsageError
from trainables.kinds.classification import Classification
from trainables.layouts import class_folders
from trainables.metrics import ACCURACY
from trainables.splits import stratified
from trainables.submissions import CsvAnswer
from trainables.task import PARTS, Head, Rules, Sample, Splits, Task

LABEL = Head(name="label", classes=tuple("0123456789"))
SIZES = {"train": 1000, "valid": 250, "holdout": 180, "test": 367}
README = """The 1,797 handwritten digits of scikit-learn (8 x 8 px), written by trainables/tasks/digits.py.
A damaged folder is written anew as a whole: keep nothing of your own in it.
"""


def read(root: Path) -> Splits:
    """`{part}/{label}/{index}.png` under `root`, written on first use, and again where images are missing.

    Raises UsageError when `root` holds something else, DataError when it cannot be written.
    """
    if not _is_whole(root):
        _require_ours(root)
        with atomic.disk_errors("The digits", root), atomic.building(root.resolve()) as temporary:
            if not _is_whole(root):
                _write(temporary)
                atomic.publish(temporary, root.resolve())
    train, valid, holdout, test = (_part(root / name) for name in PARTS)
    return Splits(
        train=train, valid=valid, holdout=holdout, test=test, sample_submission=root / "sample_submission.csv"
    )


def _part(folder: Path) -> tuple[Sample, ...]:
    """The images of one part; their order tells nothing of their labels."""
    samples = (replace(s, id=s.path.stem) for s in class_folders(folder, LABEL.classes).samples)
    return tuple(sorted(samples, key=lambda s: s.id))


def _is_whole(root: Path) -> bool:
    files = {name: [f for f in root.glob(f"{name}/*/*.png") if f.stat().st_size] for name in SIZES}
    return (root / "sample_submission.csv").is_file() and {k: len(v) for k, v in files.items()} == SIZES


def _require_ours(root: Path) -> None:
    """Raise UsageError when the folder holds what this file did not write."""
    if not root.is_dir() or not any(root.iterdir()):
        return
    readme = root / "README.txt"
    if not readme.is_file() or readme.read_text(errors="replace") != README:
        raise UsageError(
            f"{root} holds something else than the digits.", fix="Give an empty or a new folder with --data."
        )


def _write(root: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    gray = (pixels.reshape(-1, 8, 8) * (255 / 16)).round().astype("uint8")
    parts = _assign([int(label) for label in labels])
    for name, samples in parts.items():
        for sample in samples:
            path = root / name / sample.path
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(gray[int(sample.id)]).save(path)
    rows = [f"{sample.id},0\n" for sample in parts["test"]]
    (root / "sample_submission.csv").write_text("Id,Category\n" + "".join(rows))
    (root / "README.txt").write_text(README)


def _assign(labels: list[int]) -> dict[str, tuple[Sample, ...]]:
    """Fixed stratified parts of `SIZES` samples; a sample's path is `{label}/{index}.png`."""
    rest = tuple(
        Sample(id=f"{i:04d}", path=Path(str(label), f"{i:04d}.png"), target=(label,))
        for i, label in enumerate(labels)
    )
    parts: dict[str, tuple[Sample, ...]] = {}
    for name in ("test", "holdout", "valid"):
        rest, parts[name] = stratified(rest, SIZES[name] / len(rest), seed=0)
    return {"train": rest, **parts}


TASK = Task(
    name="digits",
    title="Handwritten digits",
    kind=Classification(heads=(LABEL,)),
    read=read,
    metric=ACCURACY,
    rules=Rules(pretrained=False, external_data=False, wording="the digits are learned from scratch."),
    answer=CsvAnswer(head=LABEL),
    space="digits",
    defaults={"image_size": 16, "epochs": 12},
)
