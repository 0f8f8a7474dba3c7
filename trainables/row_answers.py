"""The answer of several heads as a CSV with a row for every image and head."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.submissions import CsvAnswer
from trainables.task import Head

if TYPE_CHECKING:
    from trainables.predictions import Dense


@dataclass(frozen=True, kw_only=True)
class RowAnswer(CsvAnswer):
    """Rows `IMAGE_HEAD,class`: for each image every head, in the order of `heads`."""

    heads: tuple[Head, ...]

    def with_heads(self, heads: tuple[Head, ...]) -> "RowAnswer":
        return replace(self, head=heads[0], heads=heads)

    def check(self, path: Path, ids: Sequence[str]) -> None:
        """Raise InvalidSubmission with the first fault and its line unless `path` answers images `ids`."""
        super().check(path, [row_id(id, head) for id in ids for head in self.heads])

    def _labelled(self, predictions: "Dense") -> Iterator[tuple[str, str]]:
        best = {head: predictions.fields[head.name].argmax(1) for head in self.heads}
        for i, id in enumerate(predictions.ids):
            for head in self.heads:
                yield row_id(id, head), head.classes[best[head][i]]

    def _check_row(self, path: Path, line: int, row: Sequence[str]) -> None:
        """The label must be a class of the row's head; ids are judged by `check`."""
        asked = next((head for head in self.heads if row and row[0].endswith(f"_{head.name}")), self.head)
        CsvAnswer(head=asked, columns=self.columns)._check_row(path, line, row)


def row_id(image: str, head: Head) -> str:
    """The id of an image's row for a head."""
    return f"{image}_{head.name}"
