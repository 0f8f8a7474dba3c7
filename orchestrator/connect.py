"""A running Ray: a local one that listens on loopback alone, or one at an address."""

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray._private import ray_constants

from orchestrator.cluster import code, resources
from orchestrator.display import say
from trainables.errors import OrchestratorError

ANSWERS_S = 10.0
STARTS, TOO_LATE = 3, "timed out during startup"


@contextlib.contextmanager
def cluster(*, address: str | None, cpus: int, gpus: int) -> Iterator[dict[str, float]]:
    """A running Ray, local unless `address` is given; yields its resources ("CPU", "GPU").

    Raises OrchestratorError when no Ray answers at the address.
    """
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address is None:
            with _on_loopback():
                # "local": not a Ray that happens to run on this machine, which nobody asked for
                _init(address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, **quiet)
        else:
            _require_listener(address)
            ray.init(address=address, runtime_env=code(), **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise OrchestratorError(
            f"No Ray to run on at {address or 'this machine'}: {error}",
            fix="Start one (`ray up cluster.yaml`), or search on this machine: --address local.",
        ) from error
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield resources()
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """Raises OSError where nothing listens at host:port; Ray itself would go on asking for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_S).close()


def _init(**how: Any) -> None:
    """Start a Ray. One that is not up within Ray's own half minute, on a busy machine, is started anew.

    Raises RuntimeError where the last of `STARTS` is not up either.
    """
    for start in range(1, STARTS + 1):
        try:
            ray.init(**how)
            return
        except Exception as error:  # Ray raises this one as nothing more special
            if TOO_LATE not in str(error):
                raise
            ray.shutdown()
            if start == STARTS:
                raise RuntimeError(f"it was not up within 30 s, {STARTS} times: a busy machine.") from None
            say("Ray is not up within 30 s on this busy machine: starting it once more.")


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Ray started here listens on 127.0.0.1 alone; elsewhere than on Linux that is its default."""
    before = os.environ.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR)
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = True
        if before is None:
            del os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR]
        else:
            os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = before


@contextlib.contextmanager
def cluster_ahead(*, cpus: int, gpus: int) -> Iterator[Callable[[], dict[str, float]]]:
    """A local Ray that starts in the background; what is yielded waits for it and gives its resources.

    The thread that starts it outlives it: Linux kills Ray's processes with the thread that they are children
    of, and Ray ends a driver whose raylet is gone, without a word and before it has said what came of it.
    """
    with ThreadPoolExecutor(1, "ray") as thread, contextlib.ExitStack() as stack:
        starting = thread.submit(stack.enter_context, cluster(address=None, cpus=cpus, gpus=gpus))
        try:
            yield starting.result
        finally:
            wait([starting])
