"""What an ablation is to train, as its journal tells it."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator import journal
from orchestrator.ablation.design import BASE, Row
from orchestrator.folders import SearchFolder
from orchestrator.journal import Event, SearchRecord
from trainables.config import TrialConfig
from trainables.errors import DataError

MORE_SEEDS = "more_seeds"
"""The event of further seeds, for some rows and the base."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """Further seeds, because a table called these rows ties."""

    rows: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Rows and seeds."""

    rows: tuple[Row, ...]
    """The base first."""
    seeds: tuple[int, ...]
    design: str
    origin: str
    """Of what the base is the configuration, in words."""
    factors: tuple[str, ...]
    """The parameters that rows change on purpose."""
    skipped: int | None = None
    """The base's own seed, under which it was chosen for its score: no row is trained with it."""
    notes: tuple[str, ...] = ()
    extensions: tuple[Extension, ...] = ()

    @property
    def base(self) -> Row:
        return self.rows[0]

    def seeds_of(self, row: Row) -> tuple[int, ...]:
        """Seeds that a row is trained with in all."""
        further = (e.seeds for e in self.extensions if row.name in e.rows or row.name == BASE)
        return tuple(dict.fromkeys((*self.seeds, *(seed for seeds in further for seed in seeds))))

    def further(self, count: int) -> tuple[int, ...]:
        """So many seeds that were not used yet."""
        return seeds_after(max(self.seeds_of(self.base), default=-1), count, skipped=self.skipped)

    def looks(self, row: Row) -> int:
        """Tables that the row's seeds were decided on, the next one among them."""
        return 1 + sum(row.name in extension.rows for extension in self.extensions)

    def trials(self) -> list[TrialConfig]:
        """All that is to be trained, seed by seed: what is cut off is then still paired."""
        seeds = self.seeds_of(self.base)
        return [row.config(seed) for seed in seeds for row in self.rows if seed in self.seeds_of(row)]

    def to_json(self) -> dict[str, Any]:
        """As the journal's first event keeps it."""
        content = asdict(self)
        del content["extensions"]
        return content


def seeds_after(last: int, count: int, *, skipped: int | None) -> tuple[int, ...]:
    """So many seeds above `last`, but the skipped one."""
    every = (seed for seed in itertools.count(last + 1) if seed != skipped)
    return tuple(itertools.islice(every, count))


def read(folder: SearchFolder) -> tuple[SearchRecord, Planned]:
    """Replay an ablation's journal. Raises DataError where it is missing, damaged or a search's."""
    record = journal.read(folder.journal)
    events, _ = journal.tail(folder.journal)
    return record, planned_of(record.asked, events)


def planned_of(asked: Mapping[str, Any], events: Sequence[Event]) -> Planned:
    """What was asked, and what was added since. Raises DataError where the journal is not an ablation's."""
    told = asked.get("ablation")
    if not isinstance(told, Mapping):
        raise DataError(
            f"Journal of {asked.get('search_id')}: it is no ablation's.", fix="Name one of an ablation."
        )
    return Planned(
        rows=tuple(Row(**row) for row in told["rows"]),
        seeds=tuple(told["seeds"]),
        design=told["design"],
        origin=told["origin"],
        factors=tuple(told["factors"]),
        skipped=told["skipped"],
        notes=tuple(told["notes"]),
        extensions=tuple(
            Extension(rows=tuple(event["rows"]), seeds=tuple(event["seeds"]))
            for event in events
            if event["event"] == MORE_SEEDS
        ),
    )
