"""The files that a store is made of: each image with its part, its file's hash and its header."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from trainables import pixels
from trainables.decode import Header
from trainables.errors import DataError
from trainables.isolated import cpus
from trainables.task import PARTS, Sample, Splits


@dataclass(frozen=True, kw_only=True)
class Source:
    """One image of a part; `fault` says why it cannot be decoded, and is empty where it can."""

    part: str
    sample: Sample
    sha256: str
    fault: str
    header: Header | None = None

    @property
    def has_row(self) -> bool:
        return not self.fault or self.part == "test"


def sources_of(splits: Splits) -> list[Source]:
    """Every image of every part, in the order of the rows, with the hash of its file.

    Raises DataError for a table of pixels that cannot be read: it holds thousands of images.
    """
    samples = [(name, sample) for name in PARTS for sample in splits.part(name)]
    paths = list(dict.fromkeys(sample.path for _, sample in samples))
    with ThreadPoolExecutor(cpus()) as pool:
        hashes = dict(zip(paths, pool.map(digest_of, paths), strict=True))
    sources = []
    for name, sample in samples:
        sha256, fault = hashes[sample.path]
        if fault and sample.row is not None:
            raise DataError(f"{sample.path}: {fault}.", fix=pixels.AGAIN)
        sources.append(Source(part=name, sample=sample, sha256=sha256, fault=fault))
    return sources


def digest_of(path: Path) -> tuple[str, str]:
    """(sha256 of a file, "") or ("", why it cannot be read)."""
    try:
        if not S_ISREG(path.stat().st_mode):
            return "", "no regular file"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), ""
    except OSError as error:
        return "", f"cannot be read: {error.strerror}"
