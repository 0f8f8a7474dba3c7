"""Two nodes of a cluster that share nothing: each makes its copy once, what trials leave comes home."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from safetensors.torch import save_file

from benchmarks.reporting import made_up_search
from orchestrator import cluster, connect, tune
from orchestrator.conductor import Conductor
from orchestrator.copies import SCRATCH, mark_of
from orchestrator.slot import Assignment
from trainables import store
from trainables.config import TrialConfig
from trainables.errors import UsageError
from trainables.families import load_family
from trainables.pretrained import weights_file
from trainables.splits import complete
from trainables.task import load_task

pytestmark = pytest.mark.slow  # a cluster of three nodes and its searches: about two minutes
LEFT = {"config.json", "curve.csv", "weights.safetensors", "valid.npz", "holdout.npz", "test.npz"}


@dataclass(frozen=True)
class Site:
    """A running cluster of a head and two more nodes."""

    cluster: Any
    nodes: list[Any]
    folders: list[Path]
    """Of the two nodes, where each keeps its own copies."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from ray._private.authentication.authentication_token_setup import (
        _enable_token_auth,
        ensure_token_if_auth_enabled,
    )
    from ray.cluster_utils import Cluster

    _enable_token_auth()
    ensure_token_if_auth_enabled()
    root = tmp_path_factory.mktemp("site")
    running = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    folders = [root / "one", root / "two"]
    nodes = [running.add_node(num_cpus=1, env_vars={SCRATCH: str(folder)}) for folder in folders]
    try:
        with connect.cluster(address=running.address, cpus=0, gpus=0):
            yield Site(running, nodes, folders)
    finally:
        running.shutdown()
        del os.environ["RAY_AUTH_MODE"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    task = load_task("digits")
    splits = complete(task.read(root / "digits"), heads=task.kind.heads)
    return store.prepare(task, splits, side=16, root=root / "stores").folder


def test_nodes_that_share_nothing_copy_the_store_once_and_bring_everything_home(
    site: Site, prepared: Path, tmp_path: Path
) -> None:
    made = made_up_search(tmp_path, slots=2, trials=5, epochs=2, first_rung=1)
    with made as (folder, record, make):
        conductor = make(lambda *_: None, Conductor)
        workplace = tune.Workplace(
            task="digits", store=prepared, folder=folder, threads=1, deadline=float("inf")
        )
        tune.run(conductor, workplace, cpus=1, gpus=0)
    assert record.count("FAIL") == 0, [t.reason for t in record.trials.values()]
    for trial in record.trials:
        assert {path.name for path in folder.trial(trial).iterdir()} >= LEFT, trial
    for own in site.folders:
        (copy,) = (own / "stores").glob("digits-*")
        assert store.open_store(copy).fingerprint == store.open_store(prepared).fingerprint
        assert list((own / "searches").glob("*/trials/*")) == []
    assert not mark_of(folder.path).exists()
    assert list((folder.path / "trials").rglob(".*")) == []


def test_stores_come_from_an_object_store_and_weights_from_the_head(
    site: Site, prepared: Path, tmp_path: Path
) -> None:
    weights, share = tmp_path / "convnet.safetensors", f"file://{tmp_path}/bucket"
    save_file(load_family("convnet").build(TrialConfig(model="convnet"), 10).state_dict(), weights)
    for own in site.folders:
        shutil.rmtree(own / "stores", ignore_errors=True)
    about: dict[str, Any] = {"task": "digits", "store": "", "stop_file": "", "threads": 1}
    params = {"model": "convnet", "pretrained": True, "weights": str(weights)}

    def where_things_are(name: str, trial: str) -> tuple[str, str]:
        """On a node: where a trial finds its store and its pretrained weights."""
        lodging = cluster.Lodging(name)
        ready = lodging.ready(Assignment(folder=trial, params=params, deadline=float("inf"), **about))
        lodging.follow(Path(trial).name, os.getpid())
        file = weights_file(TrialConfig(**ready.params))
        assert file.exists()
        return ready.store, str(file)

    looked = ray.remote(num_cpus=1, max_calls=1)(where_things_are)
    with (
        made_up_search(tmp_path, slots=2, trials=1, epochs=1, first_rung=1) as (folder, _, _),
        cluster.served(folder.path, store=prepared, task="digits", weights=str(weights), share=share) as name,
    ):
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and "CPU" in node["Resources"]]
        there = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
        found = ray.get(
            [
                looked.options(scheduling_strategy=on).remote(name, str(folder.trial(f"000{k}")))
                for k, on in enumerate(there)
            ]
        )
    assert (tmp_path / "bucket" / prepared.name / "sums.json").exists()
    assert {Path(opened) for opened, _ in found} == {own / "stores" / prepared.name for own in site.folders}
    assert {Path(file).parents[1] for _, file in found} == {own / "weights" for own in site.folders}


def test_a_cluster_with_a_node_that_lacks_something_is_refused_by_name(
    site: Site, prepared: Path, tmp_path: Path
) -> None:
    with made_up_search(tmp_path, slots=2, trials=1, epochs=1, first_rung=1) as (folder, _, _):
        with (
            pytest.raises(UsageError, match=r"cannot read what --share names") as refused,
            # a URL that the head can write, and no other process can read
            cluster.served(folder.path, store=prepared, task="digits", share="memory://stores"),
        ):
            pass
        assert not mark_of(folder.path).exists()
    address = site.nodes[0].node_ip_address
    assert refused.value.what.count(f"{address}: ") == len(site.nodes)


def test_a_search_outlives_a_node_that_goes(site: Site, prepared: Path, tmp_path: Path) -> None:
    made = made_up_search(tmp_path, slots=2, trials=6, epochs=3, first_rung=3)
    going: list[threading.Thread] = []

    def listen(event: dict[str, Any], _: Any) -> None:
        if event["event"] == "report" and event["trial_id"] == "0001" and not going:
            going.append(threading.Thread(target=site.cluster.remove_node, args=(site.nodes[1], False)))
            going[0].start()

    with made as (folder, record, make):
        conductor = make(listen, Conductor)
        workplace = tune.Workplace(
            task="digits", store=prepared, folder=folder, threads=1, deadline=float("inf")
        )
        tune.run(conductor, workplace, cpus=1, gpus=0)
    going[0].join()
    assert conductor.stopped == "all trials done"
    assert (len(record.trials), record.count("RUNNING")) == (6, 0)
    assert record.count("FAIL") == 0, [t.reason for t in record.trials.values()]
    for trial in record.trials:
        assert {path.name for path in folder.trial(trial).iterdir()} >= LEFT, trial
    events = [json.loads(line) for line in folder.journal.read_text().splitlines()]
    cut = {event["trial_id"] for event in events if event["event"] == "retry"}
    assert cut, "nothing ran there"
    for trial in cut:
        epochs = [e["epoch"] for e in events if e["event"] == "report" and e["trial_id"] == trial]
        assert epochs == sorted(set(epochs)), "an epoch was told twice"
