"""The files that are handed in: written atomically, and checked as the organisers' own reader would."""

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.answer_files import check_ids, csv_rows, invalid, read_answer, without_fraction
from trainables.errors import DataError, InvalidSubmission
from trainables.task import Head, Sample, Splits

if TYPE_CHECKING:
    from trainables.predictions import Dense


@dataclass(frozen=True, kw_only=True)
class CsvAnswer:
    """A header and a row an image: its id and the most likely class of `head`, as the head spells it."""

    head: Head
    columns: tuple[str, str] = ("Id", "Category")
    filename: str = "submission.csv"
    gap: str = ""
    """What stands between a row's comma and its label."""

    def with_heads(self, heads: tuple[Head, ...]) -> "CsvAnswer":
        return replace(self, head=heads[0])

    def write(self, predictions: "Dense", path: Path) -> None:
        """Write the rows in the predictions' order. Raises DataError when the file cannot be written."""
        from trainables import atomic

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows((id, self.gap + label) for id, label in self._labelled(predictions))
        with atomic.disk_errors("The submission", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(path, text.getvalue().encode())

    def _labelled(self, predictions: "Dense") -> Iterator[tuple[str, str]]:
        """Each row's id and label."""
        best = predictions.fields[self.head.name].argmax(1)
        yield from ((id, self.head.classes[k]) for id, k in zip(predictions.ids, best, strict=True))

    def check(self, path: Path, ids: Sequence[str]) -> None:
        """Raise InvalidSubmission with the first fault and its line unless `path` answers `ids` in order."""
        data = read_answer(path)
        if data.startswith(codecs.BOM_UTF8):
            raise invalid(path, 1, "a byte order mark before the header", "Save as UTF-8 without BOM.")
        header, *rows = csv_rows(path, data)
        self._check_header(path, header[1], ids)
        for line, row in rows:
            self._check_row(path, line, row)
        check_ids(path, [(line, row[0]) for line, row in rows], ids)

    def _check_header(self, path: Path, header: Sequence[str], ids: Sequence[str]) -> None:
        if tuple(header) == self.columns:
            return
        wanted = ",".join(self.columns)
        if sorted(header) == sorted(self.columns):
            raise invalid(path, 1, "the columns are swapped", f"The header is {wanted!r}.")
        if len(header) == 1 and any(separator in header[0] for separator in ";\t|"):
            raise invalid(path, 1, f"no comma in the header {header[0]!r}", "Separate the columns by commas.")
        if header and header[0] in ids:
            raise invalid(path, 1, "the header is missing", f"Begin with the line {wanted!r}.")
        raise invalid(path, 1, f"wrong header {','.join(header)!r}", f"The header is {wanted!r}.")

    def _check_row(self, path: Path, line: int, row: Sequence[str]) -> None:
        if not row:
            raise invalid(path, line, "an empty line", "Take it out.")
        if len(row) != len(self.columns):
            count = f"{len(row)} columns instead of {len(self.columns)}"
            raise invalid(path, line, count, f"Each row is {(',' + self.gap).join(self.columns)}.")
        label, classes = row[1].removeprefix(self.gap), self.head.classes
        if row[1].startswith(self.gap) and label in classes:
            return
        known = f"Known labels: {', '.join(classes[:20])}{', ...' if len(classes) > 20 else ''}."
        if not label.strip():
            raise invalid(path, line, f"no label for {row[0]!r}", known)
        if label in classes:
            what = f"no {self.gap!r} between the comma and the label {label!r}"
            raise invalid(path, line, what, f"A row looks like '{row[0]},{self.gap}{label}'.")
        if label.strip() in classes:
            raise invalid(path, line, f"spaces around the label {label!r}", "Take the spaces out.")
        if without_fraction(label) in classes:
            whole = without_fraction(label)
            raise invalid(path, line, f"the label {label!r} is written as a float", f"Write {whole!r}.")
        raise invalid(path, line, f"unknown label {label!r}", known)


def in_the_form_of(sample: Path, splits: Splits) -> Splits:
    """The splits of one head with the answer's header, and ids with or without suffix, as in a sample.

    Raises DataError where the sample has not two columns.
    """
    from trainables.layouts import column_values, header_of

    header = header_of(sample)
    if len(header) != 2:
        raise DataError(f"{sample}, line 1: {len(header)} columns where an answer has two.", fix=_AGAIN)
    listed = set(column_values(sample, header[0]))
    form = _form(splits.test, listed)
    return replace(
        splits,
        test=tuple(replace(s, id=form(s)) for s in splits.test),
        sample_submission=sample,
        answer=CsvAnswer(head=splits.heads[0], columns=(header[0], header[1])),
    )


def _form(test: Sequence[Sample], listed: set[str]) -> Callable[[Sample], str]:
    """How the ids are spelled in a sample: as they are, as names of files, or without their suffix."""
    forms: list[Callable[[Sample], str]] = [lambda s: s.id, lambda s: s.path.name, lambda s: s.path.stem]
    return next((form for form in forms if any(form(s) in listed for s in test)), forms[0])


def organisers_order(sample: Path | None, ids: Sequence[str]) -> tuple[str, ...]:
    """The test ids in the order of the organisers' sample submission; as given where there is none.

    Raises DataError when the sample is broken or names other images than the test part holds.
    """
    if sample is None:
        return tuple(ids)
    try:
        rows = csv_rows(sample, read_answer(sample))[1:]
    except InvalidSubmission as error:
        raise DataError(f"The sample submission is broken. {error.what}", fix=_AGAIN) from error
    order = tuple(row[0] for _, row in rows if row)
    listed, present = set(order), set(ids)
    if len(order) != len(listed):
        raise DataError(f"{sample}: {len(order) - len(listed)} ids stand there twice.", fix=_AGAIN)
    for these, what in (
        (listed - present, "ids of the sample submission have no test picture"),
        (present - listed, "test pictures are not in the sample submission"),
    ):
        if these:
            raise DataError(f"{sample}: {len(these)} {what} (first: {min(these)!r}).", fix=_AGAIN)
    return order


_AGAIN = "Fetch the data again, or take the sample submission out of the data folder."
