"""Faults of MLflow: its server is down, goes, is slow; its database is locked or damaged."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from orchestrator.chaos.cells import FILL_IN, Cell, Fault
from orchestrator.chaos.rig import Rig, Running, Unexpected, wait_for
from orchestrator.ui import LOOPBACK, free_port

GROUP = "MLflow"
EXPECTED = "the search is as if nothing had been; what MLflow misses is told and filled in later"
STARTS_S = 90.0
DELAY_S = 1.5


def _down(cell: Cell) -> None:
    uri = f"http://127.0.0.1:{free_port(LOOPBACK, 0)}"
    running = cell.rig.search(cell.name, env={"MLFLOW_TRACKING_URI": uri})
    cell.require_ended(running)
    _require_told(running)
    _filled_in(cell)


def _server_goes(cell: Cell, *, back: bool) -> None:
    with _server(cell.rig) as (uri, server):
        running = cell.rig.search(cell.name, env={"MLFLOW_TRACKING_URI": uri})
        cell.reach(running, cell.late_moment())
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        if back:
            with _server(cell.rig, port=int(uri.rpartition(":")[2])):
                cell.require_ended(running)
        else:
            cell.require_ended(running)
            _require_told(running)
    _filled_in(cell)


def _slow(cell: Cell) -> None:
    with _server(cell.rig) as (uri, _), _delayed(int(uri.rpartition(":")[2])) as slow:
        cell.require_ended(cell.rig.search(cell.name, env={"MLFLOW_TRACKING_URI": slow}))
    _filled_in(cell)


def _locked(cell: Cell) -> None:
    with contextlib.closing(sqlite3.connect(_database(cell.rig))) as connection:
        running = cell.rig.search(cell.name)
        cell.reach(running, cell.any_moment())
        connection.execute("BEGIN EXCLUSIVE")
        cell.require_ended(running)
    _filled_in(cell)


def _damaged(cell: Cell) -> None:
    """The database of all searches so far; MLflow begins a new one where it is taken away."""
    path = _database(cell.rig)
    running = cell.rig.search(cell.name)
    cell.reach(running, cell.late_moment())
    path.write_bytes(b"no database" + path.read_bytes()[11:])
    cell.require_ended(running)
    for left in path.parent.glob("mlflow.db*"):
        left.unlink()
    _filled_in(cell)


def _require_told(running: Running) -> None:
    if FILL_IN not in running.text:
        raise Unexpected(f"it does not say what MLflow misses: {running.tail}")


def _filled_in(cell: Cell) -> None:
    cell.fill_in()
    cell.require_as_if_nothing_had_been(repeats=0)


def _database(rig: Rig) -> Path:
    return rig.out / "mlflow.db"


@contextlib.contextmanager
def _server(rig: Rig, *, port: int | None = None) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A real server on the rig's database; its address and process."""
    port = port or free_port(LOOPBACK, 0)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    store = ["--backend-store-uri", f"sqlite:///{_database(rig)}", "--workers", "1"]
    place = ["--artifacts-destination", str(rig.out / "mlartifacts")]
    with (rig.home / "server.said").open("ab") as said:
        process = subprocess.Popen(
            command + store + place, stdout=said, stderr=said, cwd=rig.home, start_new_session=True
        )
    try:
        if not wait_for(lambda: _answers(port), STARTS_S):
            raise Unexpected("MLflow's server did not start")
        yield f"http://127.0.0.1:{port}", process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def _delayed(port: int) -> Iterator[str]:
    """An address behind which the server at `port` answers each request late."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, port), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def _accept(listening: socket.socket, port: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listening.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for source, sink, delay in ((client, server, DELAY_S), (server, client, 0.0)):
                threading.Thread(target=_pass_on, args=(source, sink, delay), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, delay: float) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            time.sleep(delay)
            sink.sendall(block)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


FAULTS = (
    Fault(GROUP, "server down", EXPECTED, _down),
    Fault(GROUP, "server goes", EXPECTED, lambda cell: _server_goes(cell, back=False)),
    Fault(GROUP, "server goes and is back", EXPECTED, lambda cell: _server_goes(cell, back=True)),
    Fault(GROUP, "server is slow", EXPECTED, _slow),
    Fault(GROUP, "database locked", EXPECTED, _locked),
    Fault(GROUP, "database damaged", EXPECTED, _damaged),
)
