"""Calls made in child processes, so that one that crashes or hangs costs itself and nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from trainables.errors import DataError, OrchestratorError

TIME_LIMIT = 60.0
"""Seconds that one call may take."""
LONGEST_CHUNK = 32
TRIES = 2
"""A call whose process dies is tried once more: something else may have killed it."""

Call = tuple[int, tuple[Any, ...]]


@dataclass(frozen=True)
class Failure:
    """Why a call gave no value."""

    reason: str


@dataclass(eq=False)
class _Child:
    process: subprocess.Popen[bytes]
    connection: "Connection[Any, Any]"
    ready: bool = False
    calls: deque[Call] = field(default_factory=deque)
    heard: float = field(default_factory=time.monotonic)


def cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Children:
    """Processes that import only what the called function needs; a context manager that ends them."""

    def __init__(self, count: int, *, time_limit: float = TIME_LIMIT) -> None:
        self._time_limit = time_limit
        self._children = [_start() for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            _end(child)

    def map(
        self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield (index, value) for every call, as they end; in place of a value a Failure with its reason.

        A call fails when it raises DataError, takes longer than the time limit, or its process dies twice;
        any other exception is raised here. `function` must be importable by name.
        """
        queue: deque[Call] = deque(enumerate(arguments))
        chunk = max(1, min(LONGEST_CHUNK, len(queue) // (4 * len(self._children))))
        deaths: Counter[int] = Counter()
        while queue or any(child.calls for child in self._children):
            for child in self._children:
                if queue and not child.calls:
                    self._give(child, function, [queue.popleft() for _ in range(min(chunk, len(queue)))])
            for child in self._attend():
                yield from _answers(child)
                reason = self._end_of(child)
                if reason:
                    yield from self._bury(child, reason, queue, deaths)

    def _give(self, child: _Child, function: Callable[..., Any], calls: list[Call]) -> None:
        child.calls.extend(calls)
        child.heard = time.monotonic()
        with suppress(OSError):  # it died while idle: seen, and dealt out again, by the next `_attend`
            child.connection.send((function, calls))

    def _attend(self) -> list[_Child]:
        """The children that have answered, died or taken too long."""
        busy = [child for child in self._children if child.calls]
        heard = wait([child.connection for child in busy], timeout=min(1.0, self._time_limit / 4))
        return [child for child in busy if child.connection in heard or self._late(child)]

    def _late(self, child: _Child) -> bool:
        return time.monotonic() - child.heard > self._time_limit

    def _end_of(self, child: _Child) -> str:
        """Why a child is of no more use; empty while it is."""
        if child.connection.closed:
            return f"its process died ({_exit_name(child.process.wait())})"
        return f"took longer than {self._time_limit:g} s" if child.calls and self._late(child) else ""

    def _bury(
        self, child: _Child, reason: str, queue: deque[Call], deaths: Counter[int]
    ) -> Iterator[tuple[int, Failure]]:
        """Replace a child; the call it was at is failed or tried again, the others go back to the queue."""
        _end(child)
        if not child.ready:
            raise OrchestratorError(
                f"A helper process of {sys.executable} did not start: {reason}.",
                fix="Its own message stands above this one.",
            )
        self._children[self._children.index(child)] = _start()
        if not child.calls:
            return
        index = child.calls[0][0]
        deaths[index] += 1
        if deaths[index] >= TRIES or not reason.startswith("its process"):
            child.calls.popleft()
            yield index, Failure(reason)
        queue.extendleft(reversed(child.calls))


def serve(descriptor: int) -> None:
    """The child's side: answer calls until the parent hangs up."""
    connection: Connection[Any, Any] = Connection(descriptor)
    connection.send(None)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C libraries print of each file what we report ourselves
    while True:
        try:
            function, calls = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        for index, arguments in calls:
            connection.send((index, _outcome(function, arguments)))


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except DataError as error:
        return Failure(error.what)
    except Exception as error:
        return error


def _answers(child: _Child) -> Iterator[tuple[int, Any]]:
    """Everything the child has sent by now; its connection is closed when there will be no more."""
    try:
        while child.connection.poll():
            message = child.connection.recv()
            child.heard = time.monotonic()
            if message is None:
                child.ready = True
                continue
            index, value = message
            if isinstance(value, Exception):
                raise value
            child.calls.popleft()
            yield index, value
    except (EOFError, ConnectionResetError):
        child.connection.close()


def _start() -> _Child:
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from trainables.isolated import serve; serve({theirs.fileno()})"],
            env={**os.environ, **_environment()},
            pass_fds=(theirs.fileno(),),
            process_group=0,  # Ctrl-C is the parent's to handle
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    return _Child(process, ours)


def _environment() -> dict[str, str]:
    """The parent's module path, and one thread a child."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _end(child: _Child) -> None:
    child.connection.close()
    if child.process.poll() is None:
        child.process.kill()
    child.process.wait()


def _exit_name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
