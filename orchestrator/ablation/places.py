"""Where ablations are kept: `OUT/TASK/ablations/ID/` and `latest` beside it, each like a search's folder."""

from collections.abc import Iterator
from pathlib import Path

from orchestrator import folders
from orchestrator.folders import SearchFolder
from orchestrator.trust import NotTrusted, require_own
from trainables.errors import UsageError, unknown

ABLATIONS = "ablations"
LATEST = "latest"


def create(home: Path, ablation_id: str | None) -> SearchFolder:
    """A new folder under `home`, which is OUT/TASK. Raises UsageError for an id that is taken or none."""
    return folders.create(home, ABLATIONS, ablation_id)


def find(home: Path, ablation_id: str = LATEST) -> SearchFolder:
    """An ablation's folder. Raises UsageError naming those that there are; NotTrusted for another user's."""
    found = all_of(home)
    path = (home.absolute() / ABLATIONS / ablation_id).resolve()
    if not found:
        raise UsageError(
            f"No ablation of {home.name} in {home.parent}.",
            fix=f"Start one: python -m orchestrator.ablate {home.name}",
        )
    if path not in {folder.path.resolve() for folder in found}:
        raise unknown(f"ablation of {home.name}:", ablation_id, [folder.search_id for folder in found])
    require_own(path)
    return SearchFolder(path)


def all_of(home: Path) -> list[SearchFolder]:
    """Every ablation, oldest first."""
    return [SearchFolder(path) for path in _holding(home.absolute() / ABLATIONS)]


def runs_of(home: Path) -> list[SearchFolder]:
    """Every trusted search and ablation of a task, whose finished trials may be shared; the latest first."""
    paths = (*_holding(home.absolute()), *_holding(home / ABLATIONS))
    return [SearchFolder(path) for path in paths if _is_trusted(path)][::-1]


def _is_trusted(folder: Path) -> bool:
    try:
        require_own(folder)
    except NotTrusted:
        return False
    return True


def _holding(parent: Path) -> Iterator[Path]:
    """Folders with a journal; `latest` is one of them already."""
    paths = (journal.parent for journal in sorted(parent.glob("*/journal.jsonl")))
    return (path for path in paths if not path.is_symlink())
