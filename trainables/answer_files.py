"""What every answer's checker needs: the file's bytes and rows, its ids, and an error that names the line."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from trainables.errors import InvalidSubmission

Row = tuple[int, list[str]]
"""The line of the file that a row ends on, and the row."""


def read_answer(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InvalidSubmission(f"{path} does not exist.", fix="Give the path of a submission.") from None
    except OSError as error:
        raise InvalidSubmission(f"{path} cannot be read: {error.strerror}.") from error
    if not data.strip():
        raise InvalidSubmission(f"{path} is empty.", fix="Write the submission again.")
    return data


def csv_rows(path: Path, data: bytes) -> list[Row]:
    """Every row of a CSV file, a byte order mark left out. Raises InvalidSubmission when it is none."""
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        return [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise invalid(path, line, "bytes that are not UTF-8", "Save the file as UTF-8.") from error
    except csv.Error as error:
        raise invalid(path, reader.line_num, f"broken CSV ({error})", "Write the file again.") from error


def check_ids(path: Path, rows: Sequence[tuple[int, str]], ids: Sequence[str]) -> None:
    """Raise InvalidSubmission unless the rows' ids are `ids`, each once, in their order."""
    wanted = set(ids)
    line_of: dict[str, int] = {}
    for line, id in rows:
        if id in line_of:
            raise invalid(
                path, line, f"the id {id!r} stands in line {line_of[id]} already", "One row an image."
            )
        if id not in wanted:
            raise _unexpected(path, line, id, ids)
        line_of[id] = line
    missing = [id for id in ids if id not in line_of]
    if missing:
        raise InvalidSubmission(
            f"{path}: {len(rows)} rows for {len(ids)} test images; the id {missing[0]!r} is missing"
            + (f", and {len(missing) - 1} more." if len(missing) > 1 else "."),
            fix="Write one row for each test image.",
        )
    for (line, id), expected in zip(rows, ids, strict=True):
        if id != expected:
            what = f"wrong order: the id {id!r} where {expected!r} is due"
            raise invalid(path, line, what, "Keep the order of the organisers' sample, or of the file names.")


def _unexpected(path: Path, line: int, id: str, ids: Sequence[str]) -> InvalidSubmission:
    if not id.strip():
        return invalid(path, line, "no id", "Each row begins with the id of a test image.")
    if id.strip() in ids:
        return invalid(path, line, f"spaces around the id {id!r}", "Take the spaces out.")
    by_number = {wanted.lstrip("0"): wanted for wanted in ids}
    near = by_number.get(without_fraction(id).lstrip("0"))
    if near:
        what = f"the id {id!r} should read {near!r}: leading zeros belong to it"
        return invalid(path, line, what, "Read and write ids as text, not as numbers.")
    return invalid(path, line, f"no test image has the id {id!r}", f"Ids look like {ids[0]!r}.")


def without_fraction(number: str) -> str:
    """ "3.0" as "3"; anything else as it is."""
    whole, dot, fraction = number.strip().partition(".")
    return whole if dot and not fraction.strip("0") else number


def invalid(path: Path, line: int, what: str, fix: str) -> InvalidSubmission:
    return InvalidSubmission(f"{path}, line {line}: {what}.", fix=fix)
