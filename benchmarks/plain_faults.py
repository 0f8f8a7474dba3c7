"""What plain Ray Tune does under the faults of `selftest --chaos`: what a tutorial's search loses.

python -m benchmarks.plain_faults [--json]

A function trainable that reports, saves a checkpoint each epoch and restores it, OptunaSearch, ASHA and the
callback for MLflow, as the documentation has them, and Tune's own defaults. Each trial notes each of its
epochs in a log of its own; a row says what that log and Tune's results tell after the fault, and after
`Tuner.restore` where the search had ended.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRIALS, EPOCHS, EPOCH_S = 6, 6, 0.4
ENDS_S = 150.0
NAME = "plain"
ONE_TRIAL = 3
"""Whose metric or process is at fault: the third that starts."""


def trainable(config: dict[str, Any]) -> None:
    """A curve that follows from `lr`; `fault` of the configuration strikes in the second epoch."""
    from ray import tune

    home, place = Path(config["home"]), tune.get_context().get_trial_id()
    begin = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        begin = int((Path(checkpoint.path) / "epoch").read_text())
    number = _number_of(home, place)
    for epoch in range(begin + 1, EPOCHS + 1):
        time.sleep(EPOCH_S)
        score: Any = (1 - 0.7**epoch) / (1 + abs(config["lr"] - 0.01) * 100)
        if number == ONE_TRIAL and epoch == 2 and not (home / "struck").exists():
            score = _strike(config["fault"], home, score)
        with (home / "witness").open("a") as file:
            file.write(f"{place} {epoch}\n")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "epoch").write_text(str(epoch))
            metrics = {} if score == "missing" else {"score": score}
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def _number_of(home: Path, place: str) -> int:
    """Which one of the trials this is, in the order of their starts."""
    known = (home / "started").read_text().split() if (home / "started").exists() else []
    if place not in known:
        known.append(place)
        (home / "started").write_text(" ".join(known))
    return known.index(place) + 1


def _strike(fault: str, home: Path, score: float) -> Any:
    values: dict[str, Any] = {"nan": float("nan"), "none": None, "text": "good", "missing": "missing"}
    if fault not in ("kill", "error", *values):
        return score
    (home / "struck").touch()
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "error":
        raise RuntimeError("the metric broke")
    return values[fault]


def search(home: Path, fault: str, uri: str, *, restore: bool) -> None:
    """The search, or its restoration; prints the states and best score as JSON on its last line."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    path = str(home / NAME)
    if restore:
        tuner = tune.Tuner.restore(path, trainable, resume_unfinished=True, restart_errored=False)
    else:
        callbacks = []
        if uri:
            from ray.air.integrations.mlflow import MLflowLoggerCallback

            callbacks = [MLflowLoggerCallback(tracking_uri=uri, experiment_name=NAME)]
        space = {"lr": tune.loguniform(1e-3, 1e-1), "home": str(home), "fault": fault}
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=TRIALS,
                search_alg=OptunaSearch(seed=0),
                scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=2, reduction_factor=3),
            ),
            run_config=tune.RunConfig(name=NAME, storage_path=str(home), callbacks=callbacks, verbose=0),
        )
    results = tuner.fit()
    scores = [r.metrics.get("score") for r in results if r.metrics]
    told = {"trials": len(results), "errors": len(results.errors), "scores": scores}
    print(json.dumps(told, default=str))


@dataclass(frozen=True)
class Row:
    """What came of a fault."""

    fault: str
    code: int
    trials: int | None
    """That Tune has results of in the end; None where it ended without."""
    errors: int | None
    again: int
    """Epochs that were trained more than once."""
    said: str

    def text(self) -> str:
        trials = "none" if self.trials is None else f"{self.trials} of {TRIALS}"
        return f"{self.fault:34}{self.code:5}{trials:>9}{self.errors or 0:8}{self.again:7}  {self.said}"


class Plain:
    """One search of theirs in a folder of its own."""

    def __init__(self, home: Path, fault: str = "", uri: str = "") -> None:
        self.home, self.fault, self.uri = home, fault, uri
        home.mkdir(parents=True)
        self.said = home / "said"

    def start(self, *, restore: bool = False) -> "subprocess.Popen[bytes]":
        words = ["--home", str(self.home), "--fault", self.fault, "--uri", self.uri]
        words += ["--restore"] if restore else []
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}
        with self.said.open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "benchmarks.plain_faults", *words],
                env={**os.environ, **quiet},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def until(self, epochs: int) -> None:
        """Wait for so many epochs in all."""
        deadline = time.monotonic() + ENDS_S
        while time.monotonic() < deadline and sum(self.epochs().values()) < epochs:
            time.sleep(0.05)

    def epochs(self) -> Counter[str]:
        path = self.home / "witness"
        return Counter(path.read_text().splitlines()) if path.exists() else Counter()

    def row(self, name: str, process: "subprocess.Popen[bytes]") -> Row:
        try:
            code = process.wait(timeout=ENDS_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        lines = self.said.read_text(errors="replace").strip().splitlines() or [""]
        told = json.loads(lines[-1]) if code == 0 and lines[-1].startswith("{") else {}
        said = "" if told else lines[-1][-90:]
        again = sum(count - 1 for count in self.epochs().values())
        return Row(name, code, told.get("trials"), told.get("errors"), again, said)


def _struck(place: Path, name: str, number: int, *, damage: Callable[[Path], None] | None = None) -> Row:
    """End the driver by a signal in the middle, damage what it left, restore."""
    plain = Plain(place)
    process = plain.start()
    plain.until(TRIALS * EPOCHS // 3)
    process.send_signal(number)
    process.wait()
    time.sleep(3)
    if damage:
        damage(plain.home / NAME)
    return plain.row(name, plain.start(restore=True))


def _truncated(pattern: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for path in folder.glob(pattern):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def measure(home: Path) -> list[Row]:
    """A row a fault, the undisturbed search first."""
    rows = []

    def add(row: Row) -> None:
        rows.append(row)
        print(row.text(), flush=True, file=sys.stderr)

    def alone(name: str, fault: str = "", uri: str = "") -> None:
        plain = Plain(home / f"{len(rows)}", fault, uri)
        add(plain.row(name, plain.start()))

    alone("none")
    add(_struck(home / "kill", "driver killed, restored", signal.SIGKILL))
    add(_struck(home / "term", "SIGTERM, restored", signal.SIGTERM))
    add(_struck(home / "int", "Ctrl-C, restored", signal.SIGINT))
    alone("process of a trial killed", "kill")
    for fault, name in (("nan", "nan"), ("none", "None"), ("text", "a text"), ("missing", "missing")):
        alone(f"metric of a trial is {name}", fault)
    alone("metric of a trial raises", "error")
    state, searcher = _truncated("experiment_state-*.json"), _truncated("searcher-state-*.pkl")
    add(_struck(home / "state", "experiment state truncated", signal.SIGINT, damage=state))
    add(_struck(home / "searcher", "searcher state truncated", signal.SIGINT, damage=searcher))
    alone("MLflow's server down", uri="http://127.0.0.1:9")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fault", default="", help=argparse.SUPPRESS)
    parser.add_argument("--uri", default="", help=argparse.SUPPRESS)
    parser.add_argument("--restore", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.home:
        search(arguments.home, arguments.fault, arguments.uri, restore=arguments.restore)
        return
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure(Path(scratch))
    if arguments.json:
        print(json.dumps([row.__dict__ for row in rows]))
        return
    print(f"{'fault':34}{'code':>5}{'trials':>9}{'errors':>8}{'again':>7}  said last")
    print("\n".join(row.text() for row in rows))


if __name__ == "__main__":
    main()
