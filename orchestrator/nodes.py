"""A node of a cluster, where it shares no disk with the head: what comes there, and what goes back. No Ray.

The head lends the store and takes in what trials leave (`HeadFiles`). A node has one `Station`, which copies
the store once, before the node's first trial, from an object store where one was named and else from the
head, and brings back the files of every trial while they appear.
"""

import hashlib
import os
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.copies import (
    SCRATCH,
    Head,
    Home,
    Stamp,
    digest_of,
    fetch,
    inside,
    listing_of,
    scratch,
    send,
    shares_disk,
)
from orchestrator.depot import Depot
from orchestrator.slot import Assignment
from trainables import atomic
from trainables.errors import DataError
from trainables.pretrained import SUFFIXES

POLL_S = 1.0


@dataclass
class _Followed:
    """A trial whose files are brought back while its process lives."""

    here: Path
    there: str
    pid: int | None
    sent: dict[str, Stamp] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Station:
    """A node's side of a search. Its methods may be called from several threads."""

    def __init__(self, head: Head, home: Home) -> None:
        self._head = head
        self._home = home
        self._own = not shares_disk(home)
        self._folder = scratch() / "searches" / Path(home.search).name
        self._followed: dict[str, _Followed] = {}
        self._preparing = threading.Lock()
        self._prepared: tuple[str, str] | None = None
        self._courier = threading.Thread(target=self._carry, name="courier", daemon=True)
        self._closing = threading.Event()
        self.problem = ""
        """Why files do not get through, while they do not."""

    def ready(self, assignment: Assignment) -> Assignment:
        """The assignment with the paths of this node, once everything it needs is there.

        A trial that ran elsewhere before goes on from its files on the head. Raises DataError.
        """
        store, task = self._prepare()
        if self.weights_folder() and assignment.params.get("weights"):
            with self._preparing:
                bring_weights(self._head, str(assignment.params["model"]), Path(self.weights_folder()))
        if not self._own:
            return replace(assignment, store=store)
        trial = Path(assignment.folder).name
        here = self._folder / "trials" / trial
        with atomic.disk_errors("The trial", here):
            shutil.rmtree(here, ignore_errors=True)
            here.mkdir(parents=True)
            for name in self._head.listing(assignment.folder):
                fetch(self._head, f"{assignment.folder}/{name}", here / name)
        self._followed[trial] = _Followed(here, assignment.folder, None, listing_of(here))
        stop = str(self._folder / "STOP")
        return replace(assignment, store=store, task=task, folder=str(here), stop_file=stop)

    def weights_folder(self) -> str:
        """Where this node keeps pretrained weights, by model; "" where they lie as on the head, or none do.

        It goes to the trials as `trainables.pretrained.HERE`: their configurations stay as they are.
        """
        there = self._home.weights
        if not there or (not self._own and Path(there).exists()):
            return ""
        return str(scratch() / "weights" / hashlib.sha256(there.encode()).hexdigest()[:16])

    def follow(self, trial: str, pid: int) -> None:
        """Bring back what the process writes for the trial, until it is gone."""
        if trial in self._followed:
            self._followed[trial].pid = pid

    def deliver(self, trial: str) -> None:
        """Bring back now what the trial has written. Raises DataError where it does not arrive."""
        if trial in self._followed:
            self._send(self._followed[trial])

    def close(self, seconds: float) -> None:
        """Bring back the rest, for at most so long."""
        deadline = time.monotonic() + seconds
        while self._followed and time.monotonic() < deadline:
            time.sleep(POLL_S / 5)
        self._closing.set()

    def _prepare(self) -> tuple[str, str]:
        """The store and the task on this node; with the first of them, the courier starts."""
        with self._preparing:
            if self._prepared is None:
                store = str(store_here(self._head, self._home))
                self._prepared = store, task_here(self._head, self._home) if self._own else self._home.task
                self._folder.mkdir(parents=True, exist_ok=True)
                (self._folder / "STOP").unlink(missing_ok=True)
                self._courier.start()
            return self._prepared

    def _carry(self) -> None:
        """Until closed: what trials write goes to the head, and its word to stop comes here."""
        while not self._closing.wait(POLL_S):
            try:
                if self._head.stopped():
                    (self._folder / "STOP").touch()
                for trial, followed in list(self._followed.items()):
                    over = followed.pid is not None and not _alive(followed.pid)
                    self._send(followed, last=over)
                    if over and self._followed.get(trial) is followed:
                        del self._followed[trial]
                self.problem = ""
            except Exception as error:  # whatever it is, the next pass tries again
                self.problem = f"{type(error).__name__}: {error}"

    def _send(self, followed: _Followed, *, last: bool = False) -> None:
        """Send what changed since the last time, in the order of the changes; the `last` time, then remove.

        What is gone here goes there too, unless nothing is left: then it was not the trial that removed it.
        """
        with followed.lock:
            found = listing_of(followed.here)
            if not found:
                return
            for name in sorted(found, key=lambda n: found[n][1]):
                if followed.sent.get(name) != found[name]:
                    with suppress(FileNotFoundError):  # a checkpoint that gave way to the next
                        send(self._head, followed.here / name, f"{followed.there}/{name}")
                        followed.sent[name] = found[name]
            for name in followed.sent.keys() - found.keys():
                self._head.remove(f"{followed.there}/{name}")
                del followed.sent[name]
            if last:
                shutil.rmtree(followed.here, ignore_errors=True)


def store_here(head: Head, home: Home) -> Path:
    """The store on this node: the head's path where it holds the same data, else a copy, made once.

    Other processes of the node that want the same wait. Raises DataError when it cannot be had.
    """
    there, copy = Path(home.store), scratch() / "stores" / Path(home.store).name
    if SCRATCH not in os.environ and is_store(there, home.fingerprint):
        return there
    sizes = head.listing(home.store)
    with atomic.disk_errors("The prepared images", copy), atomic.building(copy) as temporary:
        if is_store(copy, home.fingerprint):
            for name in sizes.keys() - listing_of(copy).keys():
                _bring(head, home, name, sizes[name][0], copy)
            return copy
        _require_room(copy.parent, sum(size for size, _ in sizes.values()))
        for name in sizes:
            _bring(head, home, name, sizes[name][0], temporary)
        if not is_store(temporary, home.fingerprint):
            raise DataError(f"The prepared images did not arrive whole in {copy}.", fix="Search again.")
        atomic.publish(temporary, copy)
    return copy


def _bring(head: Head, home: Home, name: str, size: int, folder: Path) -> None:
    """A file of the store, from the object store where one has these very bytes, else from the head."""
    here, there = inside(folder, name), f"{home.store}/{name}"
    if home.share:
        depot = Depot(home.share, Path(home.store).name)
        with suppress(Exception):  # whatever it cannot do, the head can
            depot.fetch(name, size, here, digest=lambda: head.digest(there))
            return
    fetch(head, there, here)


def bring_weights(head: Head, model: str, folder: Path) -> Path:
    """The pretrained weights of a model in this folder, under the model's name, copied where they are not.

    Raises DataError where they do not arrive, UsageError where the head has none.
    """
    there = head.weights(model)
    here = inside(folder, f"{model}{Path(there).suffix}")
    with atomic.disk_errors("The pretrained weights", here):
        if not here.exists() or digest_of(here) != head.digest(there):
            fetch(head, there, here)
        for suffix in SUFFIXES:
            if suffix != here.suffix:
                inside(folder, f"{model}{suffix}").unlink(missing_ok=True)
    return here


def is_store(folder: Path, fingerprint: str) -> bool:
    """Whether the folder holds the prepared images of this fingerprint."""
    from trainables.store import open_store

    try:
        return open_store(folder).fingerprint == fingerprint
    except DataError:
        return False


def task_here(head: Head, home: Home) -> str:
    """How the task is loaded on this node: its name, or the path of a copy of its file."""
    if not home.task.endswith(".py"):
        return home.task
    copy = scratch() / "tasks" / head.digest(home.task)[:16] / Path(home.task).name
    if not copy.exists():
        fetch(head, home.task, copy)
    return str(copy)


def _require_room(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"The prepared images need {needed / 1e6:,.0f} MB in {folder}; {free / 1e6:,.0f} MB are free.",
            fix=f"Free some, or set {SCRATCH} to another folder on this node.",
        )


def _alive(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
