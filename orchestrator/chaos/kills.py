"""One search whose driver is killed again and again, and what came of it beside one that was left alone."""

import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from orchestrator.chaos.cells import Cell
from orchestrator.chaos.invariants import repeated, require_equal
from orchestrator.chaos.rig import Rig, Unexpected

LIVES_S = (1.0, 16.0)
"""A driver lives so many seconds, at random: from where it has read its arguments to several trials on."""
TRIALS_A_KILL = 1.2
TRIAL_S = 20.0
"""More than a trial takes on a core with other work."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What a search went through, and ended as if nothing had been."""

    kills: int
    trials: int
    epochs: int
    """That its trials reported."""
    again: int
    """Epochs that were trained more often than in the search that was left alone."""

    @property
    def text(self) -> str:
        return (
            f"{self.kills} kills of one search: {self.trials} trials with {self.epochs} epochs, none lost, "
            f"none begun anew; {self.again} epochs trained again; trials, stops, predictions, ensemble, "
            "submission and MLflow as without a kill."
        )


def run(home: Path, *, kills: int, seed: int, cores: list[int], heard: Callable[[int], None]) -> Tally:
    """Kill the driver of one search `kills` times; `heard` gets the number of each kill.

    The search that is left alone runs on the last of `cores`, at the same time. Raises Unexpected where the
    two differ in more than epochs trained again, at most one a kill.
    """
    draws = random.Random(seed)
    trials = max(4, round(TRIALS_A_KILL * kills))
    rig, other = Rig(home / "killed", cores[0]), Rig(home / "alone", cores[-1])
    options, within = ["--trials", str(trials)], TRIAL_S * trials
    with ThreadPoolExecutor(1) as pool:
        alone = pool.submit(other.require_success, other.search("alone", *options), within=within)
        running, done = rig.search("killed", *options), 0
        for number in range(1, kills + 1):
            running.live(draws.uniform(*LIVES_S))
            running.signal(signal.SIGKILL)
            done += running.end() == -signal.SIGKILL
            heard(number)
            running = rig.resume("killed")
        rig.require_success(running, within=within)
        alone.result()
    Cell(rig, "killed", other.folder("alone"), draws).require_whole()
    require_equal(rig, "killed", other.folder("alone"))
    left_alone = other.scorings("alone")
    again = repeated(rig.scorings("killed"), left_alone)
    if again > kills:
        raise Unexpected(f"{again} epochs were trained again, after {kills} kills")
    return Tally(kills=done, trials=len(left_alone), epochs=rig.reported("killed"), again=again)
