"""Files that mean harm or are no pictures: archives, pickles, records of others, damaged photographs."""

import functools
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from orchestrator.chaos.cells import CUT_OFF, Cell, Fault
from orchestrator.chaos.files import CHECKPOINTS
from orchestrator.chaos.rig import TASK_FILE, Skipped, Unexpected

GROUP = "hostile"
REFUSED = "refused with the reason; nothing outside is written or run"
NOBODY = 65534
SIDE, PICTURES = 16, 8
BOMB = 2**28


class _Harm:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sign,)


def _archive(cell: Cell, *, make: Callable[[Path, Path], None]) -> None:
    place = cell.rig.home / cell.name
    place.mkdir()
    sign, archive = place / "outside.png", place / "in" / "photos.zip"
    archive.parent.mkdir()
    make(archive, sign)
    _require_refused(cell, "check", "--data", str(archive.parent), code=1)
    if sign.exists() or os.path.lexists(place / "in" / "link"):
        raise Unexpected("something was written outside")


def _escaping(archive: Path, _: Path) -> None:
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("cat/1.png", _png())
        file.writestr("../outside.png", _png())


def _linking(archive: Path, sign: Path) -> None:
    with tarfile.open(archive.with_suffix(".tar"), "w") as file:
        link = tarfile.TarInfo("cat/link")
        link.type, link.linkname = tarfile.SYMTYPE, str(sign.parent)
        file.addfile(link)
        picture = tarfile.TarInfo("cat/link/outside.png")
        picture.size = len(_png())
        file.addfile(picture, BytesIO(_png()))


def _bursting(archive: Path, _: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(4):
            file.writestr(f"cat/{number}.png", bytes(BOMB))


def _poisoned_checkpoint(cell: Cell) -> None:
    """In the place of a trial's own; the trial goes on from the one before, or begins again."""
    sign = cell.rig.home / f"{cell.name}.sign"
    for path in cell.folder.path.glob(CHECKPOINTS):
        path.write_bytes(pickle.dumps(_Harm(sign)))
    cell.require_recovered()
    _require_not_run(sign)


def _poisoned_weights(cell: Cell) -> None:
    """In the place of those that a user gives with --weights."""
    sign, path = cell.rig.home / f"{cell.name}.sign", cell.rig.home / f"{cell.name}.pth"
    path.write_bytes(pickle.dumps({"weights": _Harm(sign)}))
    photos = _photos(cell.rig.home / cell.name)
    options = ["--weights", str(path), "--set", "model=resnet10t", "--trials", "1", "--max-epochs", "1"]
    running = cell.rig.command("search", "--data", str(photos), *options, name=cell.name)
    code = running.end()
    cell.rig.require_none_left()
    running.require_words()
    if code == 0:
        raise Unexpected(f"exit code {code}: {running.tail}")
    _require_not_run(sign)


def _of_another_user(cell: Cell) -> None:
    if os.geteuid() != 0:
        raise Skipped("only root can give a folder to another user")
    journal = cell.whole.journal
    os.chown(journal, NOBODY, NOBODY)
    try:
        _require_refused(cell, "submit", str(TASK_FILE), "--search", cell.whole.search_id, code=2)
        again = cell.rig.command(
            "ensemble", str(TASK_FILE), "--search", cell.whole.search_id, "--trust", name=cell.name
        )
        cell.require_ended(again)
    finally:
        os.chown(journal, os.geteuid(), os.getegid())


def _bad_pictures(cell: Cell) -> None:
    """So many are refused, each named with what is wrong with it: something happened to these data."""
    photos = _photos(cell.rig.home / cell.name)
    bad = {"cut": _png()[:40], "empty": b"", "text": b"no picture", "html": b"<html></html>", "bits": _bent()}
    for name, content in bad.items():
        (photos / "cat" / f"{name}.png").write_bytes(content)
    options = ["--trials", "1", "--max-epochs", "1"]
    running = cell.rig.command("search", "--data", str(photos), *options, name=cell.name)
    cell.require_ended(running, 1)
    unnamed = [name for name in bad if f"{name}.png" not in running.text]
    if unnamed:
        raise Unexpected(f"not named: {', '.join(unnamed)}")


def _require_refused(cell: Cell, module: str, *arguments: str, code: int) -> None:
    running = cell.rig.command(module, *arguments, name=cell.name)
    cell.require_ended(running, code)
    if "Error:" not in running.text and "Problem:" not in running.text:
        raise Unexpected(f"it does not say why: {running.tail}")


def _require_not_run(sign: Path) -> None:
    if sign.exists():
        raise Unexpected("a pickle was loaded")


def _photos(folder: Path) -> Path:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(PICTURES):
            (folder / name / f"{number}.png").write_bytes(_png(number + 100 * (name == "dog")))
    return folder


def _png(seed: int = 0) -> bytes:
    import numpy as np
    from PIL import Image

    content = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def _bent() -> bytes:
    """A PNG whose pixels are no longer what its checksums were made of."""
    content = bytearray(_png(7))
    content[60] ^= 255
    return bytes(content)


FAULTS = (
    Fault(GROUP, "archive leads outside", REFUSED, functools.partial(_archive, make=_escaping), quick=True),
    Fault(GROUP, "archive holds a link", REFUSED, functools.partial(_archive, make=_linking), quick=True),
    Fault(GROUP, "archive is a bomb", REFUSED, functools.partial(_archive, make=_bursting), quick=True),
    Fault(
        GROUP,
        "checkpoint is a pickle",
        "its code never runs; as if nothing had been",
        _poisoned_checkpoint,
        state=CUT_OFF,
    ),
    Fault(GROUP, "weights are a pickle with code", REFUSED, _poisoned_weights),
    Fault(GROUP, "records of another user", "refused without --trust", _of_another_user, quick=True),
    Fault(GROUP, "pictures that are none", "refused, each named with the reason", _bad_pictures),
)
