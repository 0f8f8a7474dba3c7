"""Ray's side of a cluster of several hosts: who serves the head's files, and each node's station."""

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.copies import HeadFiles, Home, Stamp, mark_of
from orchestrator.depot import Depot
from orchestrator.nodes import Station
from orchestrator.plan import TRIAL_BYTES
from orchestrator.probe import facts, lacks
from orchestrator.slot import Assignment
from trainables import pretrained
from trainables.errors import OrchestratorError, UsageError

PACKAGES = ("orchestrator", "trainables", "ensembles", "search_spaces")
CALLS = 16
"""Calls that the head's actor, and that of a node, answer at once."""
CLOSE_S = 60.0
PROBE_S = 120.0


def code() -> dict[str, Any]:
    """The runtime environment in which every node has this code."""
    here = Path(__file__).resolve().parent.parent
    return {"py_modules": [str(here / name) for name in PACKAGES]}


def resources() -> dict[str, float]:
    """What the cluster has ("CPU", "GPU"), or may come to have where it grows by itself."""
    from ray._private.state import state

    now = {k: float(v) for k, v in ray.cluster_resources().items()}
    grown = state.get_max_resources_from_cluster_config() or {}
    return {name: max(now.get(name, 0.0), float(grown.get(name, 0))) for name in (*now, "CPU", "GPU")}


def has_others() -> bool:
    """Whether there are, or may come, nodes beside this one."""
    from ray._private.state import state

    return len(_alive()) > 1 or state.get_max_resources_from_cluster_config() is not None


@contextlib.contextmanager
def served(search: Path, *, store: Path, task: str, weights: str = "", share: str = "") -> Iterator[str]:
    """Let every node reach the head's files; yields the name for `Lodging`.

    With `share`, the URL of an object store, nodes take the prepared images from there. First looks at every
    node: raises UsageError naming those that cannot do the head's work. At the end waits, at most `CLOSE_S`,
    for what trials have left on the nodes.
    """
    from trainables.store import open_store

    home = Home(
        store=str(store),
        fingerprint=open_store(store).fingerprint,
        search=str(search),
        task=task,
        mark=secrets.token_hex(16),
        weights=str(Path(weights).expanduser().absolute()) if weights else "",
        share=share,
    )
    mark_of(search).write_text(home.mark)
    name = f"head-{search.name}-{home.mark[:8]}"
    try:
        if share:
            Depot(share, store.name).upload(store)
        look(home, needed_bytes=_bytes(store) + _bytes(Path(home.weights)) + TRIAL_BYTES)
        head = _pinned(ray.get_runtime_context().get_node_id(), HeadActor, name=name).remote(home)
        yield name
        ray.get(head.close.remote(CLOSE_S))
        ray.kill(head)
    finally:
        mark_of(search).unlink(missing_ok=True)
        HeadFiles(home).sweep()


def look(home: Home, *, needed_bytes: int) -> None:
    """Raise UsageError naming the nodes that cannot do the same work as this one, with what each lacks."""
    asked = ray.remote(num_cpus=0, max_retries=0)(facts)
    me, here = ray.get_runtime_context().get_node_id(), facts(home, gpus=False)
    others = [node for node in _alive() if node["NodeID"] != me]
    pending = [
        asked.options(scheduling_strategy=_on(node["NodeID"])).remote(
            home, gpus=node["Resources"].get("GPU", 0) > 0
        )
        for node in others
    ]
    found = []
    for node, answer in zip(others, pending, strict=True):
        try:
            wrong = lacks(here, ray.get(answer, timeout=PROBE_S), needed_bytes=needed_bytes)
        except Exception as error:  # whatever a node cannot do, it is that node which lacks it
            wrong = [f"a first task did not run there: {reason(error)}"]
        found += [f"{node['NodeManagerAddress']}: {'; '.join(wrong)}."] if wrong else []
    if found:
        raise UsageError(
            "Not every node can do the head's work. " + " ".join(found),
            fix="Repair them (`make setup` with the same lock file), or take them out of the cluster.",
        )


def on_gpu(call: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
    """What a call returns on a node with a GPU, which may have to come first. Raises OrchestratorError."""
    pending = ray.remote(num_cpus=0, num_gpus=1, max_retries=0)(call).remote(*arguments)
    try:
        return ray.get(pending, timeout=seconds)
    except Exception as error:  # whatever a node cannot do
        ray.cancel(pending, force=True)
        raise OrchestratorError(f"on a node with a GPU: {reason(error)}") from error


def cards() -> list[tuple[float, tuple[int, ...]]]:
    """Of each node with GPUs that there is now: its cores, and the bytes of each card."""
    from trainables import dry_step

    asked = ray.remote(num_cpus=0, max_calls=1)(dry_step.cards)
    nodes = [node for node in _alive() if node["Resources"].get("GPU", 0) > 0]
    pending = [asked.options(scheduling_strategy=_on(node["NodeID"])).remote() for node in nodes]
    try:
        found = ray.get(pending, timeout=PROBE_S)
    except Exception as error:
        raise OrchestratorError(f"The nodes' GPUs could not be looked at: {reason(error)}") from error
    return [(node["Resources"].get("CPU", 0.0), seen) for node, seen in zip(nodes, found, strict=True)]


class RemoteHead:
    """`orchestrator.copies.Head`, asked over Ray."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def _ask(self, what: str, *arguments: Any) -> Any:
        return ray.get(self._actor.ask.remote(what, *arguments))

    def listing(self, folder: str) -> dict[str, Stamp]:
        return dict(self._ask("listing", folder))

    def read(self, path: str, start: int) -> bytes:
        return bytes(self._ask("read", path, start))

    def digest(self, path: str) -> str:
        return str(self._ask("digest", path))

    def weights(self, model: str) -> str:
        return str(self._ask("weights", model))

    def write(self, path: str, start: int, data: bytes) -> None:
        self._ask("write", path, start, data)

    def finish(self, path: str, digest: str) -> None:
        self._ask("finish", path, digest)

    def remove(self, path: str) -> None:
        self._ask("remove", path)

    def stopped(self) -> bool:
        return bool(self._ask("stopped"))


class HeadActor:
    """Runs beside the search: answers for the head's files, and owns the stations.

    Ray ends an actor with its owner: a station is to outlive the trials' actors.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._files = HeadFiles(home)
        self._stations: dict[str, Any] = {}
        self._lock = threading.Lock()

    def ask(self, what: str, *arguments: Any) -> Any:
        """Call a method of `HeadFiles`."""
        return getattr(self._files, what)(*arguments)

    def station(self, node: str) -> Any:
        """The station of a node, which starts with the first call."""
        with self._lock:
            if node not in self._stations:
                head = RemoteHead(ray.get_runtime_context().current_actor)
                self._stations[node] = _pinned(node, Station).remote(head, self._home)
            return self._stations[node]

    def close(self, seconds: float) -> None:
        """Wait until every station has brought back the rest, at most so long."""
        closing = [station.close.remote(seconds) for station in self._stations.values()]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=seconds + 5)


class Lodging:
    """A trial's actor at the station of its node; `name` is the one that `served` gave."""

    def __init__(self, name: str) -> None:
        head = ray.get_actor(name)
        self._station = ray.get(head.station.remote(ray.get_runtime_context().get_node_id()))
        folder = ray.get(self._station.weights_folder.remote())
        if folder:  # the processes of this actor's trials, which are not there yet, inherit it
            os.environ[pretrained.HERE] = folder

    def ready(self, assignment: Assignment) -> Assignment:
        """See `Station.ready`."""
        answer: Assignment = ray.get(self._station.ready.remote(assignment))
        return answer

    def follow(self, trial: str, pid: int) -> None:
        """See `Station.follow`."""
        self._station.follow.remote(trial, pid)

    def deliver(self, trial: str) -> None:
        """See `Station.deliver`; what does not arrive now is tried again by the station itself."""
        with contextlib.suppress(Exception):
            ray.get(self._station.deliver.remote(trial))


def reason(error: Exception) -> str:
    """What happened, of an error that may have come from another process."""
    cause = getattr(error, "cause", error)
    text = cause.what if isinstance(cause, OrchestratorError) else f"{type(cause).__name__}: {cause}"
    return " ".join(text.split())[:300]


def _bytes(place: Path) -> int:
    """Of a file, or of the files of a folder; 0 of an empty path."""
    if not place.name:
        return 0
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


def _pinned(node: str, kind: type, **options: Any) -> Any:
    """An actor class whose actor runs on that node and takes no slot of it."""
    actor = ray.remote(num_cpus=0, max_concurrency=CALLS)(kind)
    return actor.options(scheduling_strategy=_on(node), **options)
