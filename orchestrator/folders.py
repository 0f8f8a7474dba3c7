"""Where a search keeps what it writes: `OUT/TASK/ID/` and `OUT/TASK/latest`."""

import os
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.trust import require_own
from trainables.errors import DataError, UsageError, unknown

JOURNAL = "journal.jsonl"
BEFORE_THE_FIRST_LINE = {"trials", ".running.lock", "search.json", JOURNAL}


@dataclass(frozen=True)
class SearchFolder:
    """The files of one search."""

    path: Path

    @property
    def search_id(self) -> str:
        return self.path.name

    @property
    def asked(self) -> Path:
        return self.path / "search.json"

    @property
    def journal(self) -> Path:
        return self.path / JOURNAL

    @property
    def leaderboard(self) -> Path:
        return self.path / "leaderboard.csv"

    @property
    def ensemble(self) -> Path:
        return self.path / "ensemble.json"

    @property
    def report(self) -> Path:
        """Folder of the report: report.html, report.md, ..., figures/, tables/."""
        return self.path / "report"

    @property
    def log(self) -> Path:
        return self.path / "search.log"

    @property
    def stop(self) -> Path:
        """Its appearance ends the search in order."""
        return self.path / "STOP"

    @property
    def begun(self) -> bool:
        """Whether the journal holds what was asked, its first line."""
        try:
            with self.journal.open("rb") as file:
                return file.readline().endswith(b"\n")
        except (FileNotFoundError, NotADirectoryError):
            return False

    def trial(self, trial_id: str) -> Path:
        """Folder of a trial: config.json, curve.csv, weights.safetensors, valid/holdout/test.npz."""
        return self.path / "trials" / trial_id

    def unwritten(self, trials: Iterable[str]) -> list[str]:
        """Those of the trials whose predictions are missing."""
        return [name for name in trials if not (self.trial(name) / "test.npz").exists()]


def new(out: Path, task: str, search_id: str | None = None) -> SearchFolder:
    """Where a new search will be kept; nothing is made yet. Raises UsageError when the id is taken."""
    name = search_id or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name == "latest":
        raise UsageError(f"{name!r} is no id for a search.", fix="Use letters, digits, '.', '_' and '-'.")
    path = (out / task / name).absolute()
    if path.exists() and not _never_began(path):
        raise _taken(path)
    return SearchFolder(path)


def create(out: Path, task: str, search_id: str | None = None) -> SearchFolder:
    """A new folder, made. Raises what `new` does, and DataError when nothing can be written."""
    folder = new(out, task, search_id)
    try:
        (folder.path / "trials").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder.path} cannot be written: {error.strerror}.",
            fix="Free or choose another place with --out.",
        ) from error
    return folder


def _never_began(path: Path) -> bool:
    """Whether a search was killed here before its journal held a line: its id is free again."""
    inside = path.iterdir() if path.is_dir() else [path]
    names = {each.name for each in inside if each.suffix != ".tmp"}
    return names <= BEFORE_THE_FIRST_LINE and not SearchFolder(path).begun


def _taken(path: Path) -> UsageError:
    return UsageError(
        f"A search {path.name!r} of {path.parent.name} exists in {path.parent.parent}.",
        fix="Choose another --id.",
    )


def point_latest(folder: SearchFolder) -> None:
    """Let `latest` beside the folder name it, in one step."""
    link = folder.path.parent / f".latest-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.path.name)
    link.replace(folder.path.parent / "latest")


def find(out: Path, task: str, search_id: str | None = None) -> SearchFolder:
    """The folder of a search, the latest by default.

    Raises UsageError naming those that exist, and NotTrusted for one of another user.
    """
    home = (out / task).absolute()
    known = sorted(path.name for path in home.glob("*") if path.name != "latest" and SearchFolder(path).begun)
    if search_id is None and not (home / "latest").exists():
        raise UsageError(
            f"No search of {task} in {out}.", fix=f"Start one: python -m orchestrator.search {task}"
        )
    path = (home / (search_id or "latest")).resolve()
    if path.parent != home.resolve() or not SearchFolder(path).begun:
        raise unknown(f"search of {task} in {out}:", search_id or "latest", known)
    require_own(path)
    return SearchFolder(path)
