"""Ray Tune around the conductor: it owns nodes, resources and scheduling, and decides nothing."""

import contextlib
import errno
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.update(
    RAY_AIR_NEW_OUTPUT="0",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    TUNE_DISABLE_SIGINT_HANDLER="1",
    TUNE_DISABLE_STRICT_METRIC_CHECKING="1",
    TUNE_GLOBAL_CHECKPOINT_S="3600",
    TUNE_PRINT_ALL_TRIAL_ERRORS="0",
    TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S="0",
)

from ray import tune
from ray.tune.error import TuneError
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from orchestrator.cluster import Lodging, has_others, reason, served
from orchestrator.conductor import Conductor
from orchestrator.display import say
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord
from orchestrator.packing import environment
from orchestrator.slot import Assignment, Slot
from trainables.errors import OrchestratorError

SETTLE_S = 60.0
FULL = os.strerror(errno.ENOSPC)


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What every trial of a search shares: see `Assignment`."""

    task: str
    store: Path
    folder: SearchFolder
    threads: int
    deadline: float
    on_gpu: bool = False
    space: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the trials' processes."""
    head: str = ""
    """Under which name nodes find the head's files; "" where there is one node only."""

    def assign(self, trial_id: str, params: dict[str, Any]) -> Assignment:
        return Assignment(
            task=self.task,
            store=str(self.store),
            folder=str(self.folder.trial(trial_id)),
            params=params,
            threads=self.threads,
            deadline=self.deadline,
            stop_file=str(self.folder.stop),
            on_gpu=self.on_gpu,
            space=self.space,
        )


class TrialActor(tune.Trainable):
    """One slot of the cluster: an actor that outlives its trials."""

    def setup(self, config: dict[str, Any]) -> None:
        os.environ.update(config["environment"])
        self._slot = self.make_slot()
        self._lodging: Lodging | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        assignment, self._refused = Assignment(**new_config["assignment"]), ""
        self._trial = new_config["trial_id"]
        if not new_config["head"]:
            self._slot.start(assignment)
            return True
        try:
            self._lodging = self._lodging or Lodging(new_config["head"])
            self._slot.start(self._lodging.ready(assignment))
            self._lodging.follow(self._trial, self._slot.pid or 0)
        except Exception as error:  # this node cannot do it; another one may
            self._slot.finish()
            self._refused = f"not ready on {platform.node()}: {reason(error)}"
        return True

    def step(self) -> dict[str, Any]:
        if self._refused:
            return {"outcome": "died", "reason": self._refused}
        outcome, body = self._slot.next()
        if self._lodging and (outcome != "report" or body.get("last")):
            self._lodging.deliver(self._trial)
        return {"outcome": outcome, **body}

    def cleanup(self) -> None:
        self._slot.close()

    @staticmethod
    def make_slot() -> Slot:
        return Slot()


class ConductedSearcher(Searcher):
    """Hands the conductor's trials to Tune. Its pickled form is empty: the journal is the state."""

    def __init__(self, conductor: Conductor, workplace: Workplace, hold: Callable[[], object]) -> None:
        super().__init__(metric="valid_metric", mode="max")
        self._conductor = conductor
        self._workplace = workplace
        self._hold = hold

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self._hold()
        if self._conductor.over:  # a trial that runs may die yet, and be gone on with
            return None if self._conductor.busy else str(Searcher.FINISHED)
        request = self._conductor.suggest()
        if request is None:
            return None
        deadline = min(self._workplace.deadline, time.time() + request.seconds)
        workplace = replace(self._workplace, deadline=deadline)
        assignment = workplace.assign(request.trial_id, dict(request.params))
        assignment = replace(assignment, known=request.known, finish=request.finish, silent_s=request.silent)
        return {
            "trial_id": request.trial_id,
            "assignment": asdict(assignment),
            "head": self._workplace.head,
            "environment": dict(self._workplace.environment),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The scheduler has told the conductor already."""

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise OrchestratorError("A search is resumed from its journal.")

    def __getstate__(self) -> dict[str, Any]:
        return {}


class ConductedScheduler(TrialScheduler):
    """Passes every message of a trial to the conductor and its answer back to Tune.

    While `hold` does not return, no message is taken in, and every trial waits for leave behind its epoch. A
    trial that found the disk full is gone on with by another process, as if its own had died.
    """

    def __init__(self, conductor: Conductor, hold: Callable[[], object]) -> None:
        super().__init__()
        self._conductor = conductor
        self._hold = hold

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Nothing to decide before the first report."""

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._conductor.died(_id(trial), "its node is gone, or the slot's actor died")

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        self._hold()
        outcome = result["outcome"]
        if outcome == "failed" and FULL in result["reason"]:
            if self._conductor.stopped is not None:
                return str(TrialScheduler.STOP)  # not ended: --resume goes on with it
            outcome = "died"
        if outcome == "report" and not self._conductor.report(_id(trial), result):
            return str(TrialScheduler.CONTINUE)
        if outcome == "failed":
            self._conductor.end(_id(trial), "FAIL", result["reason"])
        elif outcome == "died":
            self._conductor.died(_id(trial), result["reason"])
        elif outcome == "refused":
            self._conductor.interrupt(_id(trial), result["reason"])
        elif outcome == "done":
            self._conductor.interrupt(_id(trial), result["why"])
        return str(TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Every end comes through `on_trial_result`."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._conductor.interrupt(_id(trial), "removed before it began")

    def choose_trial_to_run(self, tune_controller: Any, **_: Any) -> Any:
        for trial in tune_controller.get_live_trials():
            if trial.status == "PENDING":
                return trial
        return None

    def debug_string(self) -> str:
        return "conducted"

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _id(trial: Any) -> str:
    return str(trial.config["trial_id"])


def go_on() -> None:
    """Holds nothing up."""


def run(
    conductor: Conductor,
    workplace: Workplace,
    *,
    cpus: int,
    gpus: float,
    actor: type[TrialActor] = TrialActor,
    hold: Callable[[], object] = go_on,
) -> None:
    """Run trials of `cpus` and `gpus` each until the conductor has had enough. Needs `connect.cluster`.

    `hold` is called before anything is decided, and returns when the search may go on. Raises UsageError
    where the cluster has nodes that cannot run them, DataError where the journal cannot be written.
    """
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(conductor.slots)
    while True:
        _run(conductor, workplace, actor, cpus=cpus, gpus=gpus, hold=hold)
        settle(conductor.record, workplace.folder)
        lost = workplace.folder.unwritten(conductor.record.scored)
        if not conductor.write_again(lost):
            return
        say(f"No predictions came of the trials {', '.join(lost)}: another process makes them.")


def _run(
    conductor: Conductor,
    workplace: Workplace,
    actor: type[TrialActor],
    *,
    cpus: int,
    gpus: float,
    hold: Callable[[], object],
) -> None:
    with contextlib.ExitStack() as stack:
        head = stack.enter_context(_served(conductor, workplace)) if has_others() else ""
        workplace = replace(workplace, on_gpu=gpus > 0, head=head, environment=environment(gpus))
        trainable = tune.with_resources(actor, {"cpu": cpus, "gpu": gpus})
        try:
            _tuner(conductor, workplace, trainable, hold).fit()
        except TuneError as error:  # of what a scheduler raises Tune keeps the text alone
            raise conductor.journal.refused or error from error


def _served(conductor: Conductor, workplace: Workplace) -> contextlib.AbstractContextManager[str]:
    asked = conductor.record.asked
    return served(
        workplace.folder.path,
        store=workplace.store,
        task=workplace.task,
        weights=str(asked.get("weights", "")),
        share=str(asked.get("share", "")),
    )


def _tuner(
    conductor: Conductor, workplace: Workplace, trainable: Any, hold: Callable[[], object]
) -> tune.Tuner:
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=-1,
            search_alg=ConductedSearcher(conductor, workplace, hold),
            scheduler=ConductedScheduler(conductor, hold),
            reuse_actors=True,
            trial_name_creator=_id,
            trial_dirname_creator=_id,
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(workplace.folder.path),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            # a trial keeps its own best epoch; asked to save at its end, an actor would fail and be lost
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
        ),
    )


def settle(record: SearchRecord, folder: SearchFolder) -> None:
    """Wait until the trials that were stopped last have written their predictions, at most `SETTLE_S`.

    Tune waits for no actor longer than 10 s; a trial's own process outlives it.
    """
    ended = [t.trial_id for t in record.trials.values() if t.state == "PRUNED" and t.value is not None]
    began = [name for name in ended if (folder.trial(name) / "config.json").exists()]
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        if not folder.unwritten(began):
            return
        time.sleep(0.1)


def seconds_from_now(limit: float | None) -> float:
    """The wall time `limit` seconds from now, for trials on any host of the cluster."""
    return time.time() + limit if limit is not None else float("inf")
