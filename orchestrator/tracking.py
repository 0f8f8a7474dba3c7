"""Writes a search into MLflow from its journal: one experiment a task, one flat run a trial.

Pass after pass it brings MLflow to what the journal tells, and it finds a run by its tags before it makes
one: whatever number of passes, crashes and outages leaves one run a trial. The search has it done by
`orchestrator.tracker`.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator import journal
from orchestrator import run_fields as fields
from orchestrator.ablation.places import ABLATIONS
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord, TrialRecord
from trainables.errors import OrchestratorError

LOCK_S = 30.0
MOST_METRICS, MOST_PARAMS = 1000, 100
"""What MLflow takes in one request."""
CHARTS = "/#/experiments/{}/runs?workflowType=machine_learning&compareRunsMode=CHART"
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # MLflow would repeat a request that made a run: passes do not
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
REPORT = "report"
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED"}
log = logging.getLogger(__name__)


def tracking_uri(out: Path) -> str:
    """Where searches in the folder `out` are tracked: MLFLOW_TRACKING_URI, or `out/mlflow.db`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out.absolute() / 'mlflow.db'}"


def home(folder: SearchFolder) -> Path:
    """The folder of all searches, which also holds the database and its artifacts.

    Searches lie in OUT/TASK/ID, ablations in OUT/TASK/ablations/ID.
    """
    parent = folder.path.absolute().parent
    return parent.parent.parent if parent.name == ABLATIONS else parent.parent


def lock_path(folder: SearchFolder) -> Path:
    """The lock of the one process that writes this search into MLflow."""
    return folder.path / ".tracking.lock"


def charts_url(base: str, experiment_id: str) -> str:
    """The page of the UI at address `base` that shows the charts of an experiment."""
    return base.rstrip("/") + CHARTS.format(experiment_id)


def shown(text: str) -> str:
    """A text without the passwords of the URIs in it."""
    return re.sub(r"://[^/@\s]*@", "://***@", text)


def latest_experiment(uri: str) -> str | None:
    """Id of the experiment with the newest run, or None. Raises OrchestratorError without MLflow."""
    try:
        client = connect(uri)
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(ids, order_by=["attributes.start_time DESC"], max_results=1) if ids else []
    except Exception as error:
        raise _unreachable(uri, error) from error
    return str(runs[0].info.experiment_id) if runs else None


def sync(folder: SearchFolder, uri: str | None = None) -> int:
    """Write what MLflow misses of a search, its ensemble included; the number of runs written to.

    Takes as long as MLflow does. Raises OrchestratorError when MLflow cannot be written, DataError when the
    journal cannot be read.
    """
    from filelock import FileLock, Timeout

    uri = uri or tracking_uri(home(folder))
    record = journal.read(folder.journal)
    writer = Writer(folder, uri)
    try:
        with FileLock(lock_path(folder), timeout=LOCK_S):
            writer.write(record, last=True)
    except Timeout:
        raise OrchestratorError(
            f"Another process is writing {folder.path} into MLflow.", fix="Try again when the search ended."
        ) from None
    except Exception as error:
        raise _unreachable(uri, error) from error
    return writer.touched


class Writer:
    """Brings MLflow to the record of a search. After an error it looks every run up again."""

    def __init__(self, folder: SearchFolder, uri: str) -> None:
        self.folder = folder
        self.uri = uri
        self.experiment_id = ""
        self.touched = 0
        """Runs that were made or changed."""
        self._client: Any = None
        self._runs: dict[str, Any] = {}
        """Runs of the search that MLflow has, by trial id, or by the digest of an ensemble."""
        self._written: dict[str, TrialRecord] = {}

    def written(self, record: SearchRecord) -> int:
        """Trials of which MLflow has all that the record tells."""
        return sum(self._written.get(i) is trial for i, trial in record.trials.items())

    def write(self, record: SearchRecord, *, last: bool) -> None:
        """One pass. `last` also closes the runs of trials that never ended, and writes the ensemble.

        Raises whatever MLflow raises; what is not written then is written by the next pass.
        """
        try:
            if self._client is None:
                self._open(record)
            for trial in record.trials.values():
                if self._written.get(trial.trial_id) is not trial:
                    self._write_trial(record, trial)
                    self._written[trial.trial_id] = trial
                if last and trial.state == "RUNNING":
                    self._client.set_terminated(self._runs[trial.trial_id].info.run_id, "KILLED")
            if last and self.folder.ensemble.exists():
                self._write_ensemble(record)
            if last and self.folder.report.exists():
                self._write_report(record)
        except Exception:
            self._client = None
            raise

    def _open(self, record: SearchRecord) -> None:
        client = connect(self.uri)
        self.experiment_id = _experiment(client, self.uri, record.asked["task"], home(self.folder))
        of_search = f"tags.search_id = '{self.folder.search_id}'"
        runs = page = client.search_runs([self.experiment_id], of_search)
        while page.token:
            page = client.search_runs([self.experiment_id], of_search, page_token=page.token)
            runs = [*runs, *page]
        self._runs = {_key(run.data.tags): run for run in runs}
        self._client = client

    def _write_trial(self, record: SearchRecord, trial: TrialRecord) -> None:
        run = self._runs.get(trial.trial_id)
        if run is not None and _is_closed(run) and run.data.tags.get("state") == trial.state:
            return
        before = self._written.get(trial.trial_id)
        if before is None or run is None or _is_closed(run):
            run = self._begin(trial.trial_id, fields.trial_tags(self.folder, record, trial), trial.seconds)
            self._batch(run, params=trial.params)
        done = before.epoch if before else 0
        self._batch(
            run,
            metrics=fields.trial_metrics(trial, _metric(record), start_ms=run.info.start_time, after=done),
        )
        if trial.state != "RUNNING":
            self._end_trial(run, record, trial)

    def _begin(self, key: str, tags: Mapping[str, str], seconds: float) -> Any:
        """The run of `key`, found or made, and open. `seconds` ago it began."""
        self.touched += 1
        run = self._runs.get(key)
        if run is None:
            start = int((time.time() - seconds) * 1000)
            run = self._client.create_run(
                self.experiment_id, start_time=start, tags=tags, run_name=tags["mlflow.runName"]
            )
        elif run.info.status != "RUNNING":
            self._client.update_run(run.info.run_id, status="RUNNING")
            self._batch(run, tags=tags)
            run = self._client.get_run(run.info.run_id)
        self._runs[key] = run
        return run

    def _end_trial(self, run: Any, record: SearchRecord, trial: TrialRecord) -> None:
        """Artifacts first, the status last: a run that is closed has everything."""
        from orchestrator.figures import trial_pictures

        with tempfile.TemporaryDirectory() as scratch:
            for name in ("config.json", "curve.csv"):
                with contextlib.suppress(FileNotFoundError):  # of a trial that failed early
                    shutil.copy(self.folder.trial(trial.trial_id) / name, scratch)
            with _logged(f"pictures of trial {trial.trial_id}"):
                trial_pictures(self.folder, record, trial, Path(scratch))
            self._client.log_artifacts(run.info.run_id, scratch)
        end = int(run.info.start_time + trial.seconds * 1000)
        self._batch(run, metrics=fields.best_metric(trial, end), tags=fields.end_tags(trial))
        self._client.set_terminated(run.info.run_id, STATUS[trial.state], end_time=end)

    def _write_ensemble(self, record: SearchRecord) -> None:
        """One run for each content of ensemble.json: made anew, it is another ensemble."""
        from orchestrator.figures import ensemble_pictures

        content = self.folder.ensemble.read_bytes()
        ensemble = json.loads(content)
        digest = hashlib.sha256(content).hexdigest()[:16]
        if digest in self._runs and _is_closed(self._runs[digest]):
            return
        tags = fields.ensemble_tags(self.folder, record, ensemble) | {"digest": digest}
        run = self._begin(digest, tags, seconds=0.0)
        scores = fields.ensemble_metrics(ensemble, _metric(record), at_ms=run.info.start_time)
        self._batch(run, params=fields.ensemble_params(ensemble), metrics=scores)
        with tempfile.TemporaryDirectory() as scratch:
            beside = (self.folder.asked, self.folder.ensemble, self.folder.leaderboard)
            for path in (*beside, *self.folder.path.glob("submission.*")):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(path, scratch)
            (Path(scratch) / "methods.md").write_text(fields.markdown(ensemble.get("table") or []))
            with _logged("pictures of the ensemble"):
                ensemble_pictures(self.folder, record, ensemble, Path(scratch))
            self._client.log_artifacts(run.info.run_id, scratch)
        self._client.set_terminated(run.info.run_id, "FINISHED")
        self._runs[digest] = self._client.get_run(run.info.run_id)

    def _write_report(self, record: SearchRecord) -> None:
        """One run a search; a report that was written anew takes the place of the earlier one."""
        pages = sorted(path for path in self.folder.report.glob("report.*"))
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in pages)).hexdigest()[:16]
        before = self._runs.get(REPORT)
        if before is not None and _is_closed(before) and before.data.tags.get("digest") == digest:
            return
        run = self._begin(REPORT, fields.report_tags(self.folder, record) | {"digest": digest}, seconds=0.0)
        with tempfile.TemporaryDirectory() as scratch:
            hidden = shutil.ignore_patterns(".*")
            copy = shutil.copytree(self.folder.report, Path(scratch) / "report", ignore=hidden)
            self._client.log_artifacts(run.info.run_id, str(copy))
        self._client.set_terminated(run.info.run_id, "FINISHED")
        self._runs[REPORT] = self._client.get_run(run.info.run_id)

    def _batch(
        self,
        run: Any,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Sequence[fields.Metric] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log in as few requests as MLflow allows. What a run already has is dropped by the store."""
        from mlflow.entities import Metric, Param, RunTag

        write, run_id = self._client.log_batch, run.info.run_id
        named = [Param(key, str(value)) for key, value in (params or {}).items()]
        for start in range(0, len(named), MOST_PARAMS):
            write(run_id, params=named[start : start + MOST_PARAMS])
        values = [Metric(key, value, at, step) for key, value, at, step in metrics]
        for start in range(0, len(values), MOST_METRICS):
            write(run_id, metrics=values[start : start + MOST_METRICS])
        if tags:
            write(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def connect(uri: str) -> Any:
    """An MlflowClient. A SQLite database that does not exist yet is made, which takes 2 to 7 s."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        _make_database(Path(uri.removeprefix("sqlite:///")), MlflowClient)
    return MlflowClient(uri)


def _make_database(path: Path, open_store: Callable[[str], Any]) -> None:
    """Make an empty database under a temporary name: one cut off while it is made never opens again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    open_store(f"sqlite:///{temporary}").search_experiments()
    with contextlib.suppress(FileExistsError):  # another search made it meanwhile
        os.link(temporary, path)
    temporary.unlink()


def _experiment(client: Any, uri: str, task: str, out: Path) -> str:
    """Id of the task's experiment, which is made or taken out of the bin where needed."""
    found = client.get_experiment_by_name(task)
    if found is None:
        # MLflow's own default is the working directory; a server decides for itself
        place = None if uri.startswith("http") else (out / "mlartifacts" / task).as_uri()
        note = {"mlflow.note.content": fields.NOTE.format(task=task)}
        return str(client.create_experiment(task, artifact_location=place, tags=note))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _key(tags: Mapping[str, str]) -> str:
    """By which a run is known: the trial's id, `REPORT`, or the digest of an ensemble."""
    return REPORT if tags.get("kind") == REPORT else tags.get("trial_id") or tags.get("digest", "")


def _is_closed(run: Any) -> bool:
    return run.info.status in ("FINISHED", "FAILED")


def _metric(record: SearchRecord) -> str:
    return str(record.asked.get("metric", "metric"))


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    """Let what decorates a run fail without the run."""
    try:
        yield
    except Exception as error:
        log.warning("No %s: %s", what, error)


def why(error: Exception) -> str:
    """What MLflow says, in one line without passwords: its beginning and, where the cause stands, its end."""
    text = " ".join(shown(str(error)).split()) or type(error).__name__
    return text if len(text) < 330 else f"{text[:160]} ... {text[-160:]}"


def _unreachable(uri: str, error: Exception) -> OrchestratorError:
    return OrchestratorError(
        f"MLflow at {shown(uri)} does not work: {why(error)}",
        fix="Start its server, or unset MLFLOW_TRACKING_URI; then try again.",
    )
