"""A slot runs one trial after another, each in a child forked from a warm server.

A crash, a leak or a stuck trial costs that trial alone, and the device's memory goes with the child. The
server already holds torch, timm and kornia, and while a trial runs the next one's child stands by with the
data opened: a trial starts in tens of milliseconds.
"""

import contextlib
import functools
import math
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock

from trainables.errors import OrchestratorError, RuleViolation

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

    from trainables.config import TrialConfig
    from trainables.store import Store
    from trainables.task import Task
    from trainables.train import EpochReport

PRELOAD = ["orchestrator.warm"]
POLL_S = 0.2
Outcome = Literal["report", "done", "failed", "refused", "died"]
Message = tuple[Outcome, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """All that a trial's process needs; plain values, so that it crosses processes and hosts."""

    task: str
    store: str
    folder: str
    params: Mapping[str, Any]
    threads: int
    deadline: float
    """Wall time (time.time()) at which the trial stops with what it has."""
    stop_file: str
    """The trial also stops when this file appears."""
    on_gpu: bool = False
    """Whether it needs the device's memory that the slot's previous trial holds."""
    space: str = ""
    """The search space, whose rules hold; the task's own where it is not given."""
    known: int = 0
    """Epochs that need not be reported again, of a trial that goes on from its checkpoint."""
    finish: bool = False
    """Whether the trial is over with these, and only its files are missing."""
    silent_s: float = math.inf
    """A trial that says nothing for so long hangs, and is killed."""


@dataclass(frozen=True)
class _Child:
    process: "ForkServerProcess"
    pipe: "Connection[Any, Any]"


class Slot:
    """Holds the server, the child of the trial that runs now, and a spare one for the next.

    `target` is what a child does: it takes its end of the pipe, over which the assignment comes, and an
    assignment like it. Something else than `run_child` is for a measurement of the way there.
    """

    def __init__(self, target: "Callable[[Connection, Assignment], None] | None" = None) -> None:
        self._target = target or run_child
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        self._assignment: Assignment | None = None
        self._child: _Child | None = None
        self._spare: _Child | None = None
        self._leaving: _Child | None = None

    @property
    def pid(self) -> int | None:
        """Process of the trial that runs now."""
        return self._child.process.pid if self._child is not None else None

    def start(self, assignment: Assignment) -> None:
        """Begin a trial. The previous one is told to stop.

        Without a GPU the two overlap: writing predictions is more waiting for the disk than work.
        """
        child = self._spare
        if child is None or not child.process.is_alive():
            child = self._fork(assignment)
        with contextlib.suppress(OSError):  # it died just now: `next` will say so
            child.pipe.send(assignment)
        self._dismiss()
        if assignment.on_gpu:
            self._wait()
        self._assignment, self._child, self._spare = assignment, child, None

    def next(self) -> Message:
        """Let the trial go on and wait for its next message.

        After `done`, `failed` or `refused` (by the rules) the trial is over. After `died`, of a child that
        ended without a word or hung, another one may go on from its checkpoint.
        """
        assert self._child is not None, "no trial was started"
        assert self._assignment is not None
        try:
            self._child.pipe.send(True)
            if self._spare is None:
                self._spare = self._fork(self._assignment)
            silent = self._assignment.silent_s
            if not self._child.pipe.poll(None if math.isinf(silent) else silent):
                self._child.process.kill()
                self._child.process.join()
                return "died", {
                    "reason": f"the trial's process said nothing for {silent:.0f} s and was killed"
                }
            message: Message = self._child.pipe.recv()
            return message
        except (EOFError, OSError):
            self._child.process.join()
            return "died", {"reason": f"the trial's process {_death(self._child.process.exitcode)}"}

    def finish(self) -> None:
        """Tell the running trial to stop, wait until it has written its predictions, and forget it."""
        self._dismiss()
        self._wait()

    def _dismiss(self) -> None:
        """Tell the running trial to stop after its epoch. One that was told before is waited for."""
        if self._child is None:
            return
        self._wait()
        with contextlib.suppress(OSError):
            self._child.pipe.send(False)
        self._child, self._leaving = None, self._child

    def _wait(self) -> None:
        """Until the trial that was told to stop is gone; its pipe stays open, for it may report yet."""
        if self._leaving is not None:
            self._leaving.process.join()
            self._leaving.pipe.close()
            self._leaving = None

    def close(self) -> None:
        """`finish`, and let the spare child go."""
        self.finish()
        if self._spare is not None:
            self._spare.pipe.close()
            self._spare.process.join()
            self._spare = None

    def _fork(self, like: Assignment) -> _Child:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=self._target, args=(theirs, like), daemon=True)
        with _no_main_module():
            process.start()
        theirs.close()
        return _Child(process, ours)


class _no_main_module:
    """Keep the child from importing the parent's main script again (in a worker of Ray: Ray itself)."""

    def __enter__(self) -> None:
        self._main = sys.modules["__main__"]
        sys.modules["__main__"] = type(sys)("__main__")

    def __exit__(self, *_: object) -> None:
        sys.modules["__main__"] = self._main


def _death(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"
    return f"ended with exit code {exitcode}"


def run_child(pipe: Connection, like: Assignment) -> None:
    """The child: train what it is assigned, send each epoch's row, wait for leave to go on; never raises.

    Before that it opens what an assignment such as `like` needs.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(Exception):  # what is wrong with it is told of the trial that needs it
        _open(like.task, like.space, like.store)
        _config(like)
    try:
        assignment: Assignment = pipe.recv()
        folder = Path(assignment.folder)
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / "trial.log").open("a", buffering=1)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        for message in _run(pipe, assignment):
            pipe.send(message)
            if message[0] == "failed":
                pipe.recv()  # it is taken in: nobody goes on with this trial
                _forget(folder)
    except (BrokenPipeError, ConnectionResetError, EOFError):
        return  # the slot is gone: nobody is left to tell


def _forget(folder: Path) -> None:
    from trainables.checkpoints import Checkpoints
    from trainables.train import CHECKPOINTS

    Checkpoints(folder / CHECKPOINTS).clear()


@functools.cache
def _open(name: str, space: str, store: str) -> "tuple[Task, Store]":
    from trainables.store import open_store
    from trainables.task import load_task

    opened = open_store(Path(store))
    task = load_task(name)
    return task.under(space or task.space).with_heads(opened.heads), opened


def _config(assignment: Assignment) -> "TrialConfig":
    from trainables.config import trial_config

    return trial_config(assignment.params)


def _run(pipe: Connection, assignment: Assignment) -> list[Message]:
    """Train; the messages left to send."""
    import torch

    from trainables.train import train

    if not pipe.recv():
        return [("done", {"why": "stopped before it began"})]
    torch.set_num_threads(assignment.threads)
    watch = _Watch(assignment)
    told = _Told(pipe, assignment, watch)
    try:
        task, store = _open(assignment.task, assignment.space, assignment.store)
        folder, config = Path(assignment.folder), _config(assignment)
        with FileLock(folder / ".running.lock"):  # of a driver that was killed, a child may end its epoch yet
            train(
                task,
                store,
                config,
                told.report,
                folder=folder,
                cancelled=watch.is_over,
                settled=told.settled,
            )
    except RuleViolation as error:
        return [("refused", {"reason": _one_line(error)})]
    except Exception as error:
        if watch.why:
            return [watch.done]
        traceback.print_exc()
        return [("failed", {"reason": _one_line(error)})]
    return [watch.done]


class _Told:
    """What a trial's process tells its slot, and what it hears back."""

    def __init__(self, pipe: Connection, assignment: Assignment, watch: "_Watch") -> None:
        import torch

        self._pipe, self._assignment, self._watch = pipe, assignment, watch
        self._device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        self._last: Message | None = None
        self._wanted = True

    def report(self, row: "EpochReport") -> bool:
        """Tell of an epoch, of the last one when `settled`; whether to go on."""
        known, finish = self._assignment.known, self._assignment.finish
        if row.epoch <= known:
            return row.epoch < known or not finish
        message: Message = ("report", {**asdict(row), "device": self._device})
        if row.last:
            self._last = message
            return False
        self._pipe.send(message)
        self._wanted = bool(self._pipe.recv())
        return self._wanted

    def settled(self) -> None:
        """Tell of the end, and wait until that is taken in: the checkpoints stay until then.

        A driver that was killed before it had journalled the end would else have all epochs trained anew.
        """
        if self._wanted:
            self._pipe.send(self._last or self._watch.done)
            self._pipe.recv()


class _Watch:
    """Whether the trial's time is up or the search was told to stop; looks at most each POLL_S seconds."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._next = 0.0
        self.why = ""

    def is_over(self) -> bool:
        now = time.time()
        if now >= self._next and not self.why:
            self._next = now + POLL_S
            if now >= self._assignment.deadline:
                self.why = "time is up"
            elif os.path.exists(self._assignment.stop_file):
                self.why = "the search was stopped"
        return bool(self.why)

    @property
    def done(self) -> Message:
        return "done", {"why": self.why}


def _one_line(error: Exception) -> str:
    text = error.what if isinstance(error, OrchestratorError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]
