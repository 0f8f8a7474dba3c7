"""A slot runs one trial after another, each in a child forked from a warm server.

A crash, a leak or a stuck trial costs that trial alone, the device's memory goes with the child, and
since the server already holds torch, timm and kornia a trial starts in tens of milliseconds.
"""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainables.errors import OrchestratorError

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

    from trainables.train import EpochReport

PRELOAD = ["orchestrator.warm"]
POLL_S = 0.2
Outcome = Literal["report", "done", "failed"]
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


class Slot:
    """Holds the server and the child of the trial that runs now."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        self._child: ForkServerProcess | None = None
        self._pipe: Connection | None = None

    @property
    def pid(self) -> int | None:
        """Process of the trial that runs now."""
        return self._child.pid if self._child is not None else None

    def start(self, assignment: Assignment) -> None:
        """Begin a trial; the previous one is let finish first."""
        self.finish()
        self._pipe, theirs = self._context.Pipe()
        self._child = self._context.Process(target=run_child, args=(theirs, assignment), daemon=True)
        with _no_main_module():
            self._child.start()
        theirs.close()

    def next(self) -> Message:
        """Let the trial go on and wait for its next message.

        After `done` or `failed` the trial is over. A child that dies counts as failed, and says how.
        """
        assert self._pipe is not None, "no trial was started"
        assert self._child is not None
        try:
            self._pipe.send(True)
            message: Message = self._pipe.recv()
            return message
        except (EOFError, OSError):
            self._child.join()
            return "failed", {"reason": f"the trial's process {_death(self._child.exitcode)}"}

    def finish(self) -> None:
        """Tell the running trial to stop, wait until it has written its predictions, and forget it."""
        if self._child is None or self._pipe is None:
            return
        try:
            self._pipe.send(False)
            while self._pipe.recv()[0] == "report":
                self._pipe.send(False)
        except (EOFError, OSError):
            pass
        self._child.join()
        self._pipe.close()
        self._child = self._pipe = None


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


def run_child(pipe: Connection, assignment: Assignment) -> None:
    """The child: train, send each epoch's row, wait for leave to go on; never raises."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder = Path(assignment.folder)
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "trial.log").open("a", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    try:
        for message in _run(pipe, assignment):
            pipe.send(message)
    except (BrokenPipeError, EOFError):
        return  # the slot is gone: nobody is left to tell


def _run(pipe: Connection, assignment: Assignment) -> list[Message]:
    """Train; the messages left to send, the last epoch's row among them: it is told once all is on disk."""
    import torch

    from trainables.config import trial_config
    from trainables.store import open_store
    from trainables.task import load_task
    from trainables.train import train

    if not pipe.recv():
        return [("done", {"why": "stopped before it began"})]
    torch.set_num_threads(assignment.threads)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    watch = _Watch(assignment)
    last: list[Message] = []

    def report(row: "EpochReport") -> bool:
        message: Message = ("report", {**asdict(row), "device": device})
        if row.epoch == int(assignment.params["epochs"]):
            last.append(message)
            return False
        pipe.send(message)
        return bool(pipe.recv())

    try:
        train(
            load_task(assignment.task),
            open_store(Path(assignment.store)),
            trial_config(assignment.params),
            report,
            folder=Path(assignment.folder),
            cancelled=watch.is_over,
        )
    except Exception as error:
        if watch.why:
            return [("done", {"why": watch.why})]
        traceback.print_exc()
        return [("failed", {"reason": _one_line(error)})]
    return [*last, ("done", {"why": watch.why})]


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


def _one_line(error: Exception) -> str:
    text = error.what if isinstance(error, OrchestratorError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]
