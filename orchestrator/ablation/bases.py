"""The configuration that an ablation starts from: a search's best trial, a file, or a space's first idea."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator import folders, journal
from orchestrator.journal import SearchRecord
from orchestrator.trust import NotTrusted
from trainables.config import TrialConfig, trial_config
from trainables.errors import UsageError

BEST = "best"


@dataclass(frozen=True, kw_only=True)
class Base:
    """Where an ablation starts."""

    config: TrialConfig | None
    """None: the first suggestion of the space."""
    origin: str
    """Of what it is the configuration, in words."""
    record: SearchRecord | None = None
    """The search that it is from, whose space and fixed parameters hold."""
    trained: bool = False
    """Whether it was perhaps chosen for the luck of its seed."""


def base_of(home: Path, asked: str) -> Base:
    """What `--base` asks for: `best`, of the latest search in `home`, or a file.

    Raises UsageError for a file that is none or broken, and for a search without a finished trial or of
    another user.
    """
    if asked != BEST:
        return _of_file(Path(asked))
    try:
        folder = folders.find(home.parent, home.name)
    except NotTrusted:
        raise
    except UsageError:
        return Base(config=None, origin="the first suggestion of the space, for there is no search yet")
    record = journal.read(folder.journal)
    ranked = record.ranked()
    if not ranked:
        raise UsageError(
            f"The latest search {folder.search_id} has no finished trial to be the base.",
            fix="Search again, or give a configuration: --base config.json",
        )
    trial = ranked[0]
    return Base(
        config=_whole(trial.params),
        origin=f"trial {trial.trial_id} of search {folder.search_id}, its best",
        record=record,
        trained=True,
    )


def _of_file(path: Path) -> Base:
    path = path / "config.json" if path.is_dir() else path
    try:
        params = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"--base {path}: {error.strerror}.", fix="Give best, or the config.json of a trial."
        ) from error
    except ValueError as error:
        raise UsageError(
            f"--base {path} is no JSON: {error}.", fix="Give the config.json of a trial."
        ) from error
    if not isinstance(params, dict):
        raise UsageError(f"--base {path} holds no object.", fix="Give the config.json of a trial.")
    return Base(config=_whole(params), origin=path.name, trained=True)


def _whole(params: Mapping[str, Any]) -> TrialConfig:
    """The configuration without what would train it on other images or end it before its last epoch."""
    return plain(trial_config(params))


def plain(config: TrialConfig) -> TrialConfig:
    """As an ablation trains it: on the data's own parts, to its last epoch."""
    return replace(config, folds=0, fold=0, patience=0)
