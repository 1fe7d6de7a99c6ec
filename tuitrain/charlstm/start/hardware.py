"""Second stage: choose the device, the number format and the threads.

The preset depends on the device, and the race depends on the preset, so the configuration is made here, in between, and
fitted to the text.
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
from tuitrain.engine.ranks.place import Place
from tuitrain.errors import UsageError
from tuitrain.specs import CELLS

MANY = 1000
"""Size of a vocabulary above which it, not the layers, determines the size of the model."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The configuration for a device and a text, and the result of the race for it."""

    config: Config
    timed: Choice


def choose(given: Mapping[str, Any], asked: str, text: Corpus, remark: Callable[[str], None],
           report: runtime.Report) -> Chosen:
    """Choose the device (`asked` is --device), and for it the configuration, the number format and the threads.

    Sets torch's threads. Raises UsageError if the device, its number format or its memory is insufficient.
    """
    device = devices.pick(asked, remark)
    config = _fitted(Config.of(given, devices.kind(device)), text, remark)
    if device == "cpu" and config.graph == "on":
        raise UsageError("--graph on: CUDA graphs need an NVIDIA GPU; leave it at auto")
    config = dataclasses.replace(config, device=device, precision=formats.pick(config.precision, device))
    _check(config, text)
    report(f"{config.layers}x{config.hidden} {CELLS[config.cell].title} of "
           f"{footprint.parameters(config, len(text.vocabulary)):,} parameters")
    timed = race.choose(config, devices.kind(device), len(text.vocabulary), report)
    runtime.apply(timed.threads)
    return Chosen(config, timed)


def choose_again(config: Config, text: Corpus, remark: Callable[[str], None], place: Place | None = None) -> Config:
    """Return a sealed configuration adapted to the present device, without a race. Sets torch's threads."""
    device = devices.again(config.device, remark)
    graph = "auto" if device == "cpu" and config.graph == "on" else config.graph
    config = dataclasses.replace(config, device=device, graph=graph,
                                 precision=formats.available(device, config.precision, config.cell))
    if place is not None:
        config = dataclasses.replace(config, threads=threads_each(place))
    _check(config, text)
    runtime.apply(int(config.threads))
    return config


def threads_each(place: Place) -> int:
    """Return the compute threads of each of several processes: the cores of the machine, shared evenly."""
    return max(1, race.cores() // place.local_size)


def _check(config: Config, text: Corpus) -> None:
    """Raise UsageError if the device has too little memory for the model, or lacks its number format."""
    footprint.check(config, len(text.vocabulary), config.device)
    precision.check(config.cell, config.precision, torch.device(config.device))


def _fitted(config: Config, text: Corpus, remark: Callable[[str], None]) -> Config:
    """Return the configuration with batches reduced to the length of the text."""
    if len(text.vocabulary) > MANY:
        remark(f"{len(text.vocabulary):,} distinct characters: "
               f"{footprint.parameters(config, len(text.vocabulary)):,} parameters, about "
               f"{footprint.needed(config, len(text.vocabulary)) / 1e9:.1f} GB of memory for training")
    rows, bptt = fitted(config, text.split)
    if (rows, bptt) == (config.batch_size, config.bptt):
        return config
    remark(f"the text is short: batches of {rows}x{bptt} instead of {config.batch_size}x{config.bptt}")
    return dataclasses.replace(config, batch_size=rows, bptt=bptt)
