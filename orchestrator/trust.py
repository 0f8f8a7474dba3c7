"""Whose records are believed: one's own, and those of others where --trust says so.

The folder of a search or an ablation names files that are read and, where its task or space is a file, code
that is run. What a command believes holds for the processes that it starts, too.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.errors import UsageError
from trainables.task import reference

ALL = "ORCH_TRUST"
FILES = "ORCH_TRUSTED_FILES"
"""Variables of the environment: that all is trusted, and the tasks' and spaces' files that the user named."""


class NotTrusted(UsageError):
    """Records that are not the user's own, or a file that only they name."""


def trust_all() -> None:
    """From now on records of other users are read, and the files run that records name."""
    os.environ[ALL] = "1"


def trust_file(name: str) -> None:
    """From now on a task's or space's file is run: the user named it. Those of the package need no trust."""
    if name.endswith(".py"):
        os.environ[FILES] = "\n".join({*_named(), os.path.realpath(name)})


def require_own(folder: Path) -> None:
    """Raises NotTrusted where a folder or its journal belong to another user, unless all is trusted."""
    if os.environ.get(ALL):
        return
    for path in (folder, folder / "journal.jsonl"):
        if path.stat().st_uid != os.geteuid():
            raise NotTrusted(
                f"{path} belongs to another user ({_owner(path)}): "
                "such records may name any file to be read and any code to be run.",
                fix="If you trust who wrote them, give --trust.",
            )


def source_of(asked: Mapping[str, Any]) -> str:
    """The task of a record, by which it is loaded: see `trainables.task.reference`.

    Raises NotTrusted for a file that the user did not name, unless all is trusted.
    """
    source = str(asked.get("source") or asked["task"])
    return _believed(source, f"The task of {asked.get('search_id')}", f"as TASK: {reference(source)}")


def space_of(asked: Mapping[str, Any], own: str) -> str:
    """The space of a record, where `own` is its task's. Raises NotTrusted as `source_of`."""
    space = str(asked.get("space") or own)
    if space == own:
        return space
    return _believed(space, f"The space of {asked.get('search_id')}", f"too: --space {space}")


def _believed(name: str, what: str, how: str) -> str:
    if not name.endswith(".py") or os.path.realpath(name) in _named() or os.environ.get(ALL):
        return name
    raise NotTrusted(
        f"{what} is the file {name}, which only its records name: it would be run.",
        fix=f"Name it {how}. Or give --trust.",
    )


def _named() -> set[str]:
    return set(filter(None, os.environ.get(FILES, "").split("\n")))


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return str(path.stat().st_uid)
