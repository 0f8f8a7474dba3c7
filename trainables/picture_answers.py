"""The answer of super-resolution: a picture a test picture, in a folder or a zip."""

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from trainables import atomic
from trainables.errors import InvalidSubmission
from trainables.maps import Maps
from trainables.task import Head

WRITTEN = (1980, 1, 1, 0, 0, 0)
"""The time in a zip's entries, always the same, so that equal answers are equal files."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class PictureAnswer:
    """`ID.png` for each test picture, exactly `scale` times its size.

    A zip where the name ends in .zip, else a folder. `sizes` are the test pictures' (height, width) by id:
    the checker measures those that stand there.
    """

    scale: int = 3
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    filename: str = "submission.zip"

    def with_heads(self, heads: tuple[Head, ...]) -> "PictureAnswer":
        return replace(self, scale=int(heads[0].classes[0]))

    def write(self, predictions: Maps, path: Path) -> None:
        """Write them, one in memory at a time; all appear or none. Raises DataError where it cannot."""
        with atomic.disk_errors("The submission", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".zip":
                _write_zip(predictions, path)
            else:
                _write_folder(predictions, path)

    def check(self, path: Path, ids: Sequence[str]) -> None:
        """Raise InvalidSubmission with the first picture at fault unless `path` answers images `ids`."""
        wanted = {f"{id}.png": id for id in ids}
        found: set[str] = set()
        for name, content in _files(path):
            if name in found:
                raise _invalid(path, name, "stands there twice", "One picture a test picture.")
            if name not in wanted:
                raise _invalid(
                    path, name, "answers no test picture", f"Names look like {next(iter(wanted))!r}."
                )
            self._check_picture(path, name, content, id=wanted[name])
            found.add(name)
        missing = [name for name in wanted if name not in found]
        if missing:
            raise InvalidSubmission(
                f"{path}: {len(found)} pictures for {len(ids)} test pictures; {missing[0]!r} is missing.",
                fix="Write one picture for each test picture.",
            )

    def _check_picture(self, path: Path, name: str, content: bytes, *, id: str) -> None:
        """Raise InvalidSubmission unless it is a whole 8-bit PNG of the size that is due."""
        from PIL import Image

        if content.startswith(PNG_SIGNATURE) and b"IEND" not in content[-12:]:
            raise _invalid(path, name, "is cut: a PNG ends with IEND", "Write it again.")
        try:
            with Image.open(io.BytesIO(content)) as image:
                form, mode, (width, height) = image.format, image.mode, image.size
                image.load()
        except Exception as error:
            raise _invalid(path, name, f"cannot be read ({error})", "Write it again.") from error
        if form != "PNG" or mode not in ("RGB", "L"):
            raise _invalid(path, name, f"is {form} {mode}", "Write PNG pictures of 8 bits, RGB or gray.")
        if id not in self.sizes:
            return
        due = tuple(side * self.scale for side in self.sizes[id])
        if (height, width) != due:
            what = f"is {width}x{height} px, where {self.scale} times its input is {due[1]}x{due[0]}"
            raise _invalid(path, name, what, f"Enlarge the whole input by exactly {self.scale}.")


def _write_zip(predictions: Maps, path: Path) -> None:
    with atomic.appearing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
        for id, picture in zip(predictions.ids, predictions, strict=True):
            packed.writestr(zipfile.ZipInfo(f"{id}.png", WRITTEN), _png(picture))


def _write_folder(predictions: Maps, path: Path) -> None:
    with atomic.building(path) as temporary:
        for id, picture in zip(predictions.ids, predictions, strict=True):
            (temporary / f"{id}.png").write_bytes(_png(picture))
        atomic.publish(temporary, path)


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="PNG")
    return content.getvalue()


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of everything in a folder or a zip."""
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.is_dir():
                raise _invalid(path, file.name, "is a folder", "Put the pictures side by side.")
            yield file.name, file.read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as packed:
            for entry in packed.infolist():
                yield entry.filename, packed.read(entry)
    except FileNotFoundError:
        raise InvalidSubmission(f"{path} does not exist.", fix="Give the path of a submission.") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise InvalidSubmission(f"{path} is no whole zip file: {error}.", fix="Write it again.") from error


def _invalid(path: Path, name: str, what: str, fix: str) -> InvalidSubmission:
    return InvalidSubmission(f"{path}: {name!r} {what}.", fix=fix)
