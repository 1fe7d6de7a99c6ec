"""Weights & Biases by its own library; without a key it stays offline in the run's folder."""

import os
from typing import Any

import wandb

from tuitrain.exporting.live.target import About, Row, Sample

PROJECT = "tuitrain"


class Wandb:
    """A run of wandb; a resumed run of ours is the same one there."""

    def __init__(self, about: About) -> None:
        mode: Any = None  # as the environment says
        self.remark = ""
        if not os.environ.get("WANDB_MODE") and not wandb.login(prompt=False):  # it would ask on the terminal
            mode = "offline"
            self.remark = f"no key of wandb is here, so it is kept in {about.folder / 'wandb'}; `wandb sync` uploads it"
        # No console and no statistics of its own: it would read the terminal that the cockpit draws on.
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True)
        self._run = wandb.init(project=os.environ.get("WANDB_PROJECT", PROJECT), name=about.name,
                               id=about.id or None, resume="allow", config=dict(about.config), dir=str(about.folder),
                               mode=mode, settings=settings)
        # After a rollback steps come again, which wandb refuses for its own count.
        self._run.define_metric("*", step_metric="step")

    def numbers(self, row: Row) -> None:
        """Write a row."""
        self._run.log({**row.values, "step": row.step, "branch": row.branch})

    def sample(self, sample: Sample) -> None:
        """Write a sample."""
        self._run.log({"sample": sample.text, "step": sample.step, "branch": sample.branch})

    def close(self) -> None:
        """Write what is left and close."""
        self._run.finish()


def open_log(about: About) -> Wandb:
    """Open the log."""
    return Wandb(about)
