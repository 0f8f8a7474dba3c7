"""A cell of the fault matrix: one fault, at one random time, and what must hold after it."""

import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.chaos.invariants import require_equal, require_repeats, require_whole
from orchestrator.chaos.rig import ENDS_S, EPOCHS, TRIALS, Rig, Running, Unexpected, wait_for
from orchestrator.folders import SearchFolder

CUT_OFF, ENDED = "cut-off", "ended"
"""States from which several faults begin."""
FILL_IN = "fill it in with"
"""A search says so of what MLflow misses, on a busy machine too."""


@dataclass(frozen=True)
class Cell:
    """Where a fault is tried. `whole` is an undisturbed search of the same rig, `name` the id to use."""

    rig: Rig
    name: str
    whole: SearchFolder
    random: random.Random

    def any_moment(self) -> int:
        """After how many reports the fault comes: any but the last one's."""
        return self.random.randrange(self.reports)

    def late_moment(self) -> int:
        """Any but the last report's, with at least one epoch done."""
        return self.random.randrange(1, self.reports - 1)

    @property
    def folder(self) -> SearchFolder:
        return self.rig.folder(self.name)

    @property
    def reports(self) -> int:
        """Of the undisturbed search."""
        return self.rig.reported(self.whole.search_id)

    @property
    def any_trial(self) -> str:
        return f"{self.random.randrange(TRIALS):04d}"

    @property
    def any_epoch(self) -> int:
        """Of those that every trial reaches: the first rung stands behind it."""
        return self.random.randint(1, min(2, EPOCHS))

    def reach(self, running: Running, reports: int) -> None:
        """Wait until the journal holds so many reports and a little longer, or until it ended."""
        wait_for(lambda: self.rig.reported(self.name) >= reports or running.ended, ENDS_S)
        wait_for(lambda: running.ended, self.random.uniform(0.0, 0.3))

    def struck(self, running: Running, reports: int, *numbers: int) -> int:
        """Send it signals, a moment after each other, the first after so many reports; its exit code."""
        self.reach(running, reports)
        for number in numbers:
            running.signal(number)
            wait_for(lambda: running.ended, self.random.uniform(0.02, 0.3))
        return running.end()

    def killed(self, running: Running, reports: int) -> None:
        """Kill the driver alone, as the kernel would; what it started has to notice by itself.

        Nobody waits for that before the search goes on: a person would not either.
        """
        self.struck(running, reports, signal.SIGKILL)

    def begin(self, state: str) -> None:
        """Begin from a search that ended undisturbed, or whose driver was killed at a random moment; the same
        for all faults of a state."""
        if state == ENDED:
            self.rig.begin_from(self.name, lambda: self.require_ended(self.rig.search(self.name)))
        elif state == CUT_OFF:
            self.rig.begin_from(
                self.name, lambda: self.killed(self.rig.search(self.name), self.late_moment())
            )

    def require_recovered(self) -> None:
        """Raises Unexpected unless --resume ends as if nothing had been."""
        self.require_ended(self.rig.resume(self.name))
        self.require_as_if_nothing_had_been(repeats=self.reports)

    def require_ended(self, running: Running, code: int = 0) -> None:
        """Raises Unexpected unless it ends with the code, in words, and leaves nothing running."""
        self.require_code(running, code)
        self.rig.require_none_left()

    def require_code(self, running: Running, code: int = 0) -> None:
        """Raises Unexpected unless it ends with the code, in words instead of a traceback."""
        found = running.end()
        if found != code:
            raise Unexpected(f"exit code {found} instead of {code}: {running.tail}")
        running.require_words()

    def require_whole(self) -> None:
        """Raises Unexpected unless the search is whole, MLflow once what it misses is filled in."""
        if FILL_IN in (self.rig.home / f"{self.name}.said").read_text(errors="replace"):
            self.fill_in()
        require_whole(self.rig, self.name)

    def fill_in(self) -> None:
        """What MLflow misses of the search, by the command that a search names."""
        self.require_ended(self.rig.command("tracker", str(self.folder.path), name=self.name))

    def require_kept(self, ended: Mapping[str, int]) -> None:
        """Raises Unexpected where trials that had `ended`, with their scorings, were touched again."""
        self.require_whole()
        found = self.rig.scorings(self.name)
        if {trial: found.get(trial, 0) for trial in ended} != dict(ended):
            raise Unexpected(f"trials that had ended were trained again: {ended} became {found}")

    @property
    def ended(self) -> dict[str, int]:
        """Trials that have ended so far, with the witness's scorings."""
        seen, record = self.rig.scorings(self.name), self.rig.record(self.name)
        return {name: seen.get(name, 0) for name, t in record.trials.items() if t.state != "RUNNING"}

    def require_as_if_nothing_had_been(self, *, repeats: int) -> None:
        """Raises Unexpected unless the outcome is that of the undisturbed search."""
        self.require_whole()
        require_equal(self.rig, self.name, self.whole)
        require_repeats(self.rig, self.name, self.whole.search_id, most=repeats)


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and what a person may expect then; `strike` raises Unexpected where it is not so."""

    group: str
    name: str
    expected: str
    strike: Callable[[Cell], None]
    quick: bool = False
    """Whether it takes a second or two, for it starts no search."""
    state: str = ""
    """Name of the state that it begins from, where others begin from the same; they follow each other."""
    damages: str = ""
    """What `strike` damages of the state, where that is all it does: faults that damage different things are
    struck at once, and one --resume has to recover from all of them."""
