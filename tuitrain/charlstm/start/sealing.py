"""Third stage: seal the configuration: every `auto` resolved, what influences training in steps. Then it is frozen."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuitrain.charlstm.config import INTERVALS, PACED, Config
from tuitrain.charlstm.looks.evaluator import SHARE, cost_in_steps
from tuitrain.charlstm.start.choices import Choice
from tuitrain.charlstm.text.batches import make_cursor
from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.errors import UsageError
from tuitrain.intervals import parse_every
from tuitrain.run.directory import RunDirectory


def seal(config: Config, text: Corpus, timed: Choice) -> Config:
    """Return the configuration with the chosen threads and number format, and with times in steps."""
    per_epoch = make_cursor(config, text.split).batches_per_epoch
    values: dict[str, Any] = {"corpus": str(Path(config.corpus).resolve()), "threads": timed.threads,
                              "precision": timed.precision}
    for name in INTERVALS:
        number, unit = parse_every(getattr(config, name))
        if name in PACED and unit in PACED[name]:
            continue  # kept as it is: it influences nothing, and holds whatever a step takes
        if unit == "seconds":
            number = _round(number / timed.step_seconds)
        elif unit == "epoch":
            number = per_epoch
        elif unit == "auto":
            validation = len(text.ids) - text.split
            number = max(50.0, cost_in_steps(config, validation) / SHARE)
            # At the ends of epochs if that is about as often, so that the row of an epoch has its own loss.
            number = round(number / per_epoch) * per_epoch if per_epoch <= number <= 20 * per_epoch else _round(number)
        values[name] = max(1, int(number))
    if config.epochs:
        values["steps"] = max(1, round(config.epochs * per_epoch))
    elif config.minutes:
        values["steps"] = max(1, round(config.minutes * 60 / timed.step_seconds))
    return dataclasses.replace(config, **values)


def sealed(run: RunDirectory, kept: Mapping[str, Any]) -> Config:
    """Return the sealed configuration from the content of config.json. Raises UsageError naming what is wrong."""
    try:
        return Config.of_run(kept["config"])
    except UsageError as error:
        raise UsageError(f"{run.path}: {error}") from None
    except KeyError:
        raise UsageError(f"{run.config} is damaged: it has no configuration") from None


def _round(number: float) -> int:
    """Round an interval that people read to two digits."""
    return int(float(f"{number:.2g}")) or 1
