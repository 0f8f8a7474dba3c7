"""Faults of a node of a cluster: it goes, and another one comes or none does."""

import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.chaos.cells import Cell, Fault
from orchestrator.chaos.rig import EPOCHS, Rig, Running, Unexpected, wait_for
from orchestrator.copies import SCRATCH
from orchestrator.ui import LOOPBACK, free_port

GROUP = "node"
STARTS_S = 90.0
STARTED = "This command will now block"
ALONE_S = 5.0


@dataclass
class Site:
    """A Ray of the user's own: a head without CPUs, and nodes of one CPU each that keep their own copies."""

    rig: Rig
    name: str
    address: str = ""
    token: str = field(default_factory=secrets.token_hex)
    nodes: list[Running] = field(default_factory=list)
    scratch: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ray")))
    """Short: Ray's sockets lie there, and their names have at most 107 characters."""

    @property
    def env(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def begin(self) -> None:
        head = [
            "--head",
            "--port",
            str(free_port(LOOPBACK, 0)),
            "--num-cpus",
            "0",
            "--include-dashboard=false",
        ]
        said = self._start(*head, "--temp-dir", str(self.scratch / "ray")).text
        # of this machine's own name in a network, if it is in one
        self.address = said.partition("--address='")[2].partition("'")[0]
        self.add()

    def add(self) -> Running:
        """One node more."""
        return self._start("--address", self.address, "--num-cpus", "1")

    def _start(self, *how: str) -> Running:
        """Raises Unexpected where it does not start."""
        number = len(self.nodes)
        words = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"]
        own = {**self.env, SCRATCH: str(self.scratch / f"node{number}")}
        node = self.rig.start([*words, *how], name=f"{self.name}-node{number}", env=own)
        self.nodes.append(node)
        wait_for(lambda: STARTED in node.text or node.ended, STARTS_S)
        if STARTED not in node.text:
            raise Unexpected(f"Ray did not start: {node.tail}")
        return node

    def end(self) -> None:
        for node in reversed(self.nodes):
            remove(node)
            node.said.unlink()
        shutil.rmtree(self.scratch, ignore_errors=True)


def remove(node: Running) -> None:
    """As a machine that is switched off: all its processes at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(node.process.pid, signal.SIGKILL)
    node.process.wait()


@contextlib.contextmanager
def _searching(cell: Cell, reports: int) -> Iterator[tuple[Site, Running]]:
    """A search on a site of one node, after so many reports. The site is gone in the end."""
    site = Site(cell.rig, cell.name)
    try:
        site.begin()
        running = cell.rig.search(cell.name, "--address", site.address, env=site.env)
        cell.reach(running, reports)
        yield site, running
    finally:
        site.end()
        cell.rig.require_none_left()


def _replaced(cell: Cell) -> None:
    """It goes at once; the other one comes a moment later."""
    with _searching(cell, cell.any_moment()) as (site, running):
        remove(site.nodes[-1])
        time.sleep(cell.random.uniform(0.0, 3.0))
        site.add()
        cell.require_code(running)
    cell.require_as_if_nothing_had_been(repeats=cell.reports)


def _never_back(cell: Cell) -> None:
    """A trial has ended before. The search waits for a node; the user ends it, and goes on without."""
    with _searching(cell, cell.random.randrange(EPOCHS + 1, cell.reports)) as (site, running):
        remove(site.nodes[-1])
        wait_for(lambda: running.ended, ALONE_S)
        running.signal(signal.SIGINT)
        cell.require_code(running, 128 + signal.SIGINT)
    if not (cell.folder.path / "submission.csv").exists():
        raise Unexpected("no submission of what there was")
    cell.require_ended(cell.rig.resume(cell.name, "--address", "local"))
    cell.require_whole()


FAULTS = (
    Fault(
        GROUP,
        "goes, and another one comes",
        "what it had not brought home yet is trained again there; the outcome is as if nothing had been",
        _replaced,
    ),
    Fault(
        GROUP,
        "goes and none comes",
        "waits; Ctrl-C ends it with a submission; --resume on this machine adds the rest, and makes again "
        "what the node had not brought home",
        _never_back,
    ),
)
