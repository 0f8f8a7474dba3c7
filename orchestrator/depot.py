"""Prepared images by way of an object store: the head puts them there once, and nodes take them from there.

`--share URL` names it, in any form that fsspec opens: s3://bucket/folder, gs://bucket/folder, file:///mnt/x.
A store lies at URL/NAME, each file of it as one object, and what they hold is listed in `sums.json` beside
them, which comes last. A node checks every file against the head's own sum: nothing has to be trusted there.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.copies import CHUNK, arrive, digest_of, inside, listing_of
from trainables.errors import OrchestratorError, UsageError

SUMS = "sums.json"


def check(share: str | None, *, address: str | None) -> None:
    """Raises UsageError for a place that nothing would read, or that fsspec cannot open here."""
    if share is None:
        return
    if address is None:
        raise UsageError(
            "--share is where nodes of a cluster take the prepared images from, and one machine has them.",
            fix="Leave it out, or say which cluster with --address.",
        )
    Depot(share, "").open()


@dataclass(frozen=True)
class Depot:
    """The object store that a search was given, and the name of its store there."""

    url: str
    name: str

    def open(self) -> tuple[Any, str]:
        """The filesystem of fsspec, and the store's path in it. Raises UsageError where there is none."""
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        if "://" not in self.url:
            raise UsageError(
                f"--share {self.url} is no URL.",
                fix="Write s3://bucket/folder, or file:///folder of a shared disk.",
            )
        try:
            files, root = url_to_fs(self.url)
        except Exception as error:  # of packages that are missing, or of what the protocol wants
            raise UsageError(f"--share {self.url} cannot be opened: {_line(error)}", fix=_WANTED) from error
        return files, f"{root.rstrip('/')}/{self.name}".rstrip("/")

    def upload(self, store: Path) -> int:
        """Put the files of a store there that are not; how many went. Raises UsageError where they cannot."""
        files, root = self.open()
        listed = listing_of(store)
        sums = {name: digest_of(store / name) for name in listed}
        try:
            known = self._sums(files, root)
            new = [name for name in sums if known.get(name) != sums[name]]
            for name in new:
                _put(files, store / name, f"{root}/{name}")
            if new:
                files.pipe_file(f"{root}/{SUMS}", json.dumps(sums, indent=1).encode())
        except OrchestratorError:
            raise
        except Exception as error:  # of whichever package talks to the object store
            raise UsageError(f"--share {self.url} cannot be written: {_line(error)}", fix=_WANTED) from error
        return len(new)

    def problem(self) -> str:
        """Why this host cannot read the store there; "" where it can."""
        try:
            files, root = self.open()
            json.loads(files.cat_file(f"{root}/{SUMS}"))
        except UsageError as error:
            return error.what
        except Exception as error:
            return _line(error)
        return ""

    def fetch(self, name: str, size: int, here: Path, *, digest: Callable[[], str]) -> None:
        """Copy a file of so many bytes. Raises what fsspec does, and DataError for other bytes."""
        files, root = self.open()
        arrive(_chunks(files, str(inside(Path(root), name)), size), here, digest=digest, name=name)

    @staticmethod
    def _sums(files: Any, root: str) -> dict[str, str]:
        """What the objects hold; nothing of a store that was never put there whole."""
        files.invalidate_cache()
        try:
            found = json.loads(files.cat_file(f"{root}/{SUMS}"))
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


_WANTED = "Install what fsspec needs for it (s3fs, gcsfs), and give this host the right to write there."


def _put(files: Any, here: Path, there: str) -> None:
    """Copy a file there, and see that it came whole. Raises UsageError."""
    files.makedirs(there.rpartition("/")[0], exist_ok=True)
    files.put_file(str(here), there)
    files.invalidate_cache()
    size = files.info(there)["size"]
    if size != here.stat().st_size:
        raise UsageError(f"{there} has {size} bytes instead of {here.stat().st_size}.", fix="Search again.")


def _chunks(files: Any, there: str, size: int) -> Iterator[bytes]:
    for start in range(0, size, CHUNK):
        yield files.cat_file(there, start=start, end=min(start + CHUNK, size))


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
