"""Faults of MLflow: its server is down, goes, is slow; its database is locked or damaged."""

import contextlib
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.chaos.cells import FILL_IN, Cell, Fault
from orchestrator.chaos.rig import Rig, Running, Unexpected
from orchestrator.ui import LOOPBACK, Server, free_port, serving

GROUP = "MLflow"
EXPECTED = "the search is as if nothing had been; what MLflow misses is told and filled in later"
DELAY_S = 1.5


def _down(cell: Cell) -> None:
    uri = f"http://127.0.0.1:{free_port(LOOPBACK, 0)}"
    running = cell.rig.search(cell.name, env={"MLFLOW_TRACKING_URI": uri})
    cell.require_ended(running)
    _require_told(running)
    _filled_in(cell)


def _server_goes(cell: Cell, *, back: bool) -> None:
    with _server(cell.rig) as server:
        running = cell.rig.search(cell.name, env={"MLFLOW_TRACKING_URI": server.address})
        cell.reach(running, cell.late_moment())
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
        if back:
            with _server(cell.rig, port=_port(server)):
                cell.require_ended(running)
        else:
            cell.require_ended(running)
            _require_told(running)
    _filled_in(cell)


def _slow(cell: Cell) -> None:
    with _server(cell.rig) as server, _delayed(_port(server)) as slow:
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


def _port(server: Server) -> int:
    return int(server.address.rpartition(":")[2])


def _require_told(running: Running) -> None:
    if FILL_IN not in running.text:
        raise Unexpected(f"it does not say what MLflow misses: {running.tail}")


def _filled_in(cell: Cell) -> None:
    cell.fill_in()
    cell.require_as_if_nothing_had_been(repeats=0)


def _database(rig: Rig) -> Path:
    return rig.out / "mlflow.db"


def _server(rig: Rig, *, port: int | None = None) -> contextlib.AbstractContextManager[Server]:
    """A real server on the rig's database."""
    return serving(f"sqlite:///{_database(rig)}", port=port or free_port(LOOPBACK, 0))


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
