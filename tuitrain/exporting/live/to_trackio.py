"""trackio by its own library: a local dashboard, `trackio show`."""

import os
import sys
from functools import partial

import trackio

from tuitrain.exporting.live.target import About, Row, Sample

PROJECT = "tuitrain"


class Trackio:
    """A run of trackio; a resumed run of ours is the same one there."""

    def __init__(self, about: About) -> None:
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        aside = partial(print, file=sys.stderr)
        for name, module in list(sys.modules.items()):  # it talks on standard output, which is for data
            if name.partition(".")[0] == trackio.__name__:
                vars(module)["print"] = aside
        self._run = trackio.init(project=project, name=f"{about.name}-{about.id[:8]}", config=dict(about.config),
                                 resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False)
        self.remark = f"trackio show --project {project}"

    def numbers(self, row: Row) -> None:
        """Write a row."""
        self._run.log({**row.values, "branch": row.branch}, step=row.step)

    def sample(self, sample: Sample) -> None:
        """Write a sample."""
        self._run.log({"sample": sample.text, "branch": sample.branch}, step=sample.step)

    def close(self) -> None:
        """Write what is left and close."""
        self._run.finish()


def open_log(about: About) -> Trackio:
    """Open the log."""
    return Trackio(about)
