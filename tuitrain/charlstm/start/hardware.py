"""Second station: choose what to compute on: the device, the number format, the threads.

The preset's recipe depends on the device, and what the race times depends on the recipe: so the recipe is made here,
between the two, and fitted to the text.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tuitrain.charlstm import footprint, runtime
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.model import precision
from tuitrain.charlstm.start import formats, race
from tuitrain.charlstm.start.choices import Choice
from tuitrain.charlstm.text.batches import fitted
from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.engine import devices
from tuitrain.errors import UsageError
from tuitrain.specs import CELLS

MANY = 1000
"""Characters of a vocabulary from which on they, not the layers, make the size of a model."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The recipe for a device and a text, and what the race of threads chose and promised for it."""

    config: Config
    timed: Choice


def choose(given: Mapping[str, Any], asked: str, text: Corpus, remark: Callable[[str], None],
           report: runtime.Report) -> Chosen:
    """Choose the device (`asked` is --device), the recipe for it, the number format and the threads.

    Sets torch's threads. Raises UsageError where the device, the format or its memory does not do.
    """
    device = devices.pick(asked, remark)
    config = _fitted(Config.of(given, devices.kind(device)), text, remark)
    if device == "cpu" and config.graph == "on":
        raise UsageError("--graph on: only on an NVIDIA GPU is the step a CUDA graph; leave it at auto")
    config = dataclasses.replace(config, device=device, precision=formats.pick(config.precision, device))
    _check(config, text)
    report(f"{config.layers}x{config.hidden} {CELLS[config.cell].title} of "
           f"{footprint.parameters(config, len(text.vocabulary)):,} parameters")
    timed = race.choose(config, devices.kind(device), len(text.vocabulary), report)
    runtime.apply(timed.threads)
    return Chosen(config, timed)


def choose_again(config: Config, text: Corpus, remark: Callable[[str], None]) -> Config:
    """The sealed configuration on the device that is here now; nothing is timed. Sets torch's threads."""
    device = devices.again(config.device, remark)
    config = dataclasses.replace(config, device=device, precision=formats.available(device, config.precision),
                                 graph="auto" if device == "cpu" and config.graph == "on" else config.graph)
    _check(config, text)
    runtime.apply(int(config.threads))
    return config


def _check(config: Config, text: Corpus) -> None:
    """Raise UsageError if the device has too little memory for the model, or not its number format."""
    footprint.check(config, len(text.vocabulary), config.device)
    precision.check(config.cell, config.precision, torch.device(config.device))


def _fitted(config: Config, text: Corpus, remark: Callable[[str], None]) -> Config:
    """The recipe with batches that the text is long enough for."""
    if len(text.vocabulary) > MANY:
        remark(f"{len(text.vocabulary):,} distinct characters: "
               f"{footprint.parameters(config, len(text.vocabulary)):,} parameters, about "
               f"{footprint.needed(config, len(text.vocabulary)) / 1e9:.1f} GB of memory to train them")
    rows, bptt = fitted(config, text.split)
    if (rows, bptt) == (config.batch_size, config.bptt):
        return config
    remark(f"the text is short: batches of {rows}x{bptt} instead of {config.batch_size}x{config.bptt}")
    return dataclasses.replace(config, batch_size=rows, bptt=bptt)
