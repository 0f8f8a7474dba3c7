"""The MLflow UI on this machine, opened on the charts of the newest search.

python -m orchestrator.ui
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

import typer

from orchestrator import cli
from orchestrator.tracking import ENVIRONMENT, charts_url, latest_experiment, shown, tracking_uri
from trainables.errors import OrchestratorError, UsageError

LOOPBACK = "127.0.0.1"
START_S = 120.0
END_S = 10.0


@dataclass(frozen=True)
class Server:
    """MLflow's, which answers at `address`; its workers are in the process group of `process`."""

    address: str
    process: "subprocess.Popen[bytes]"


@contextlib.contextmanager
def serving(uri: str, *, host: str = LOOPBACK, port: int) -> Iterator[Server]:
    """An MLflow server over the store `uri` for the time of a `with`; yields it once it answers.

    Raises OrchestratorError when it does not start.
    """
    command = [sys.executable, "-m", "mlflow", "ui", "--host", host, "--port", str(port), "--workers", "1"]
    environment = {
        **ENVIRONMENT,
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,  # not on the command line, where others could read a password
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    if uri.startswith(
        "sqlite:///"
    ):  # what is sent to the server stays beside the database, not where it runs
        beside = Path(uri.removeprefix("sqlite:///")).with_name("mlartifacts")
        environment["MLFLOW_ARTIFACTS_DESTINATION"] = str(beside)
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a group of its own, so that it ends whole, workers included
        )
        try:
            address = f"http://{LOOPBACK if host in ('0.0.0.0', '::') else host}:{port}"
            _wait_for(address, server, log)
            yield Server(address, server)
        finally:
            _end(server)


def _wait_for(address: str, server: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
            return
        time.sleep(0.2)
    log.seek(0)
    said = log.read().decode(errors="replace").strip().splitlines()[-15:]
    raise OrchestratorError("The MLflow server did not start:\n" + shown("\n".join(said)))


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End the server and its workers, in order if they obey, and in any case."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(END_S)


def free_port(host: str, wanted: int) -> int:
    """`wanted`, or where that is taken another one. Raises UsageError when `host` is not of this machine."""
    for port in (wanted, 0):
        try:
            with socket.create_server((host, port), reuse_port=False) as listener:
                return int(listener.getsockname()[1])
        except OSError as error:
            problem = error
    raise UsageError(f"Cannot listen on {host}: {problem.strerror}.", fix="Leave out --host.")


def main(
    out: cli.Out = cli.DEFAULT_OUT,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Another one is taken if it is in use.")] = 5000,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. Beyond 127.0.0.1 anyone who reaches it may change runs."),
    ] = LOOPBACK,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
    debug: cli.Debug = False,
) -> None:
    """Show the searches in the MLflow UI until Ctrl-C."""
    uri = tracking_uri(out)
    if uri.startswith(("http://", "https://")):
        _show(_link(uri, uri), opened=not no_open)
        return
    _require_database(uri, out)
    chosen = free_port(host, port)
    if chosen != port:
        print(f"Port {port} is in use; taking {chosen}.", file=sys.stderr)
    print("Starting the MLflow UI ...", file=sys.stderr)
    with serving(uri, host=host, port=chosen) as server:
        _show(_link(server.address, uri), opened=not no_open)
        print("Ctrl-C ends it.", file=sys.stderr)
        while True:
            time.sleep(3600)


def _require_database(uri: str, out: Path) -> None:
    """Raise UsageError when nothing was tracked yet: the server would make an empty database."""
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not path.exists():
        raise UsageError(
            f"No search was tracked in {out}: there is no {path}.",
            fix="Start one with python -m orchestrator.search digits, or say where it is with --out.",
        )


def _link(address: str, uri: str) -> str:
    """The charts of the newest run's experiment, or the UI itself while there is none."""
    newest = latest_experiment(uri)
    return charts_url(address, newest) if newest else address


def _show(link: str, *, opened: bool) -> None:
    """Print the link, and open it where there is a desktop."""
    print(shown(link), flush=True)
    desktop = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if opened and desktop:
        webbrowser.open(link)


if __name__ == "__main__":
    cli.run_command(main, examples="python -m orchestrator.ui --out runs --port 5001")
