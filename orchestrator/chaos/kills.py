"""One search whose driver is killed again and again, and what came of it beside one that was left alone."""

import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from orchestrator.chaos.cells import Cell
from orchestrator.chaos.invariants import repeated, require_equal
from orchestrator.chaos.rig import ENDS_S, Rig, Running, Unexpected, wait_for

EARLY, EARLY_S = 1 / 3, (1.0, 12.0)
"""So many of the kills come at a random moment before or while Ray and the first trial start."""
LATER_S = 6.0
"""The others come so long after the first epoch that it reported, at most: within one of several trials, or
between two."""
TRIALS_A_KILL = 2
TRIAL_S = 20.0
"""More than a trial takes on a core with other work."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What a search went through, and ended as if nothing had been."""

    kills: int
    """That met a driver which still ran."""
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
        done = 0
        for number in range(1, kills + 1):
            done += _struck(rig, _begun(rig, options), draws)
            heard(number)
        rig.require_success(_begun(rig, options), within=within)
        alone.result()
    Cell(rig, "killed", other.folder("alone"), draws).require_whole()
    require_equal(rig, "killed", other.folder("alone"))
    left_alone = other.scorings("alone")
    again = repeated(rig.scorings("killed"), left_alone)
    if again > kills:
        raise Unexpected(f"{again} epochs were trained again, after {kills} kills")
    return Tally(kills=done, trials=len(left_alone), epochs=rig.reported("killed"), again=again)


def _begun(rig: Rig, options: list[str]) -> Running:
    """The search, gone on with; or begun, where no driver lived until there was anything to go on with."""
    return rig.resume("killed") if rig.folder("killed").begun else rig.search("killed", *options)


def _struck(rig: Rig, running: Running, draws: random.Random) -> bool:
    """Kill the driver at a random moment; whether it still ran. Raises Unexpected where it had failed."""
    if draws.random() < EARLY:
        running.live(draws.uniform(*EARLY_S))
    else:
        before = rig.reported("killed")
        wait_for(lambda: running.ended or rig.reported("killed") > before, ENDS_S, every=0.1)
        running.live(draws.uniform(0, LATER_S))
    running.signal(signal.SIGKILL)
    code = running.end()
    if code not in (0, -signal.SIGKILL):
        raise Unexpected(f"exit code {code} without a kill: {running.tail}")
    return code == -signal.SIGKILL
