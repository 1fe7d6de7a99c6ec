"""MLflow by its own client, to wherever MLFLOW_TRACKING_URI or its own default says."""

import os
import time
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from tuitrain.exporting.live.target import About, Row, Sample

EXPERIMENT = "tuitrain"
TAG = "tuitrain.run"
LONGEST = 500
"""Characters of a parameter that every version of its server takes."""


class Mlflow:
    """A run of MLflow; a resumed run of ours is the same one there."""

    def __init__(self, about: About) -> None:
        self._client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found is not None else self._client.create_experiment(name)
        self.remark = ""
        self._id = self._begin(experiment, about)

    def numbers(self, row: Row) -> None:
        """Write a row."""
        values = {**row.values, "branch": float(row.branch)}
        metrics = [Metric(name, value, round(row.time * 1000), row.step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def sample(self, sample: Sample) -> None:
        """Write a sample."""
        self._client.log_text(self._id, sample.text, f"samples/b{sample.branch}-{sample.step}-{sample.time:.0f}.txt")

    def close(self) -> None:
        """Close the run."""
        self._client.set_terminated(self._id, end_time=round(time.time() * 1000))

    def _begin(self, experiment: str, about: About) -> str:
        known: Any = self._client.search_runs([experiment], f"tags.`{TAG}` = '{about.id}'") if about.id else []
        if known:
            self._client.update_run(known[0].info.run_id, status="RUNNING")
            return str(known[0].info.run_id)
        run = self._client.create_run(experiment, run_name=about.name, tags={TAG: about.id})
        params = [Param(name, str(value)[:LONGEST]) for name, value in about.config.items()]
        self._client.log_batch(run.info.run_id, params=params, tags=[RunTag("folder", str(about.folder))])
        return str(run.info.run_id)


def open_log(about: About) -> Mlflow:
    """Open the log."""
    return Mlflow(about)
