"""The answer of segmentation: a CSV with the run lengths of every image and class."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from trainables import atomic
from trainables.answer_files import check_ids, csv_rows, invalid, read_answer
from trainables.errors import DataError
from trainables.maps import Maps
from trainables.run_lengths import encode, parsed
from trainables.task import Head

TOGETHER = ("ImageId_ClassId", "EncodedPixels")
APART = ("ImageId", "ClassId", "EncodedPixels")


@dataclass(frozen=True, kw_only=True)
class MaskAnswer:
    """Rows `IMAGE_CLASS,RUNS`, or `IMAGE,CLASS,RUNS`: for each image every class, empty where it has none.

    `columns` are two or three names and tell the form. `sizes` are the pictures' (height, width) by id: the
    checker refuses runs past the end of those that stand there.
    """

    head: Head
    columns: tuple[str, ...] = TOGETHER
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    filename: str = "submission.csv"

    def with_heads(self, heads: tuple[Head, ...]) -> "MaskAnswer":
        return replace(self, head=heads[0])

    def write(self, predictions: Maps, path: Path) -> None:
        """Write a row for each image and class: the pixels above a half. Raises DataError where it cannot."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for id, values in zip(predictions.ids, predictions, strict=True):
            for label, mask in zip(self.head.classes, values > 0.5, strict=True):
                writer.writerow((*self._key(id, label), encode(mask)))
        with atomic.disk_errors("The submission", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(path, text.getvalue().encode())

    def check(self, path: Path, ids: Sequence[str]) -> None:
        """Raise InvalidSubmission with the first fault and its line unless `path` answers images `ids`."""
        data = read_answer(path)
        if data.startswith(codecs.BOM_UTF8):
            raise invalid(path, 1, "a byte order mark before the header", "Save as UTF-8 without BOM.")
        (_, header), *rows = csv_rows(path, data)
        wanted = ",".join(self.columns)
        if tuple(header) != self.columns:
            raise invalid(path, 1, f"wrong header {','.join(header)!r}", f"The header is {wanted!r}.")
        due = {self._shown(id, label): id for id in ids for label in self.head.classes}
        keys = [(line, ",".join(self._fields(path, line, row)[:-1])) for line, row in rows]
        for (line, key), (_, row) in zip(keys, rows, strict=True):
            self._check_runs(path, line, row[-1], image=due.get(key))
        check_ids(path, keys, list(due))

    def _key(self, id: str, label: str) -> tuple[str, ...]:
        return (f"{id}_{label}",) if len(self.columns) == 2 else (id, label)

    def _shown(self, id: str, label: str) -> str:
        return ",".join(self._key(id, label))

    def _fields(self, path: Path, line: int, row: Sequence[str]) -> Sequence[str]:
        if not row:
            raise invalid(path, line, "an empty line", "Take it out.")
        if len(row) != len(self.columns):
            count = f"{len(row)} columns instead of {len(self.columns)}"
            raise invalid(path, line, count, f"Each row is {','.join(self.columns)}.")
        return row

    def _check_runs(self, path: Path, line: int, text: str, *, image: str | None) -> None:
        """Raise InvalidSubmission unless the text is runs, apart by single spaces, inside the image."""
        if not re.fullmatch(r"(\S+( \S+)*)?", text):
            raise invalid(path, line, "spaces to spare in the run lengths", "One space between numbers.")
        height, width = self.sizes.get(image or "", (0, 0))
        try:
            parsed(text, pixels=height * width or None)
        except ValueError as error:
            raise invalid(path, line, str(error), _FORM) from error


_FORM = "Run lengths are '1 3 10 5': 1-based starts, down the columns, and lengths."


def columns_of(sample: Path) -> tuple[str, ...]:
    """The answer's columns as an organisers' sample has them: in two or three.

    Raises DataError for another header, and UsageError where the file cannot be read.
    """
    from trainables.layouts import header_of

    header = header_of(sample)
    if len(header) not in (2, 3):
        raise DataError(
            f"{sample}, line 1: {len(header)} columns where an answer has 2 or 3.", fix="Fetch it again."
        )
    return header


def answered_images(sample: Path) -> Iterator[str]:
    """The images that a sample submission asks for, in its order, each once."""
    from trainables.layouts import header_of, rows

    header = header_of(sample)
    keys = (row[0] if len(header) == 3 else row[0].rpartition("_")[0] for _, row in rows(sample, header))
    yield from dict.fromkeys(keys)
