"""Examines one checkpoint with the instruments of a live run: loss, weights, gates, gradient through time, a sample."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tuitrain.autopsy.mapping import Unfit, fit
from tuitrain.autopsy.readers.reader import Adam, Stored
from tuitrain.autopsy.source import Subject, in_our_order
from tuitrain.charlstm.looks.evaluator import PART_LENGTH, WARM, Evaluator, make_model
from tuitrain.charlstm.looks.probe import Probe
from tuitrain.charlstm.looks.sample_health import SampleHealth
from tuitrain.charlstm.looks.sampler import NumpyRNN, Stream
from tuitrain.charlstm.text.corpus import decode
from tuitrain.engine.snapshot import Snapshot
from tuitrain.protocol import groups

ROWS, WINDOWS = 64, 1024
"""The part of the validation text that is read: streams with `--loss all`, windows with `--loss last`. Three seconds of
a 3x512 on two cores; what differs between neighbours is the weights alone, so it need not be more."""
SAMPLE, PROMPT = 800, 30
"""Characters of a sample, and of the validation text that it goes on from."""
SEED = 1

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Examined:
    """The numbers of one checkpoint. Losses in nats per character, None where they are not finite."""

    name: str
    step: int
    loss: float | None
    entropy: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    """L2 norm per matrix and bias."""
    moved: Mapping[str, float] = field(default_factory=dict)
    """Distance from the checkpoint before per recurrent layer, embedding and head; empty for the first."""
    layers: tuple[Mapping[str, Any], ...] = ()
    """What the probe says of each layer, bottom up: saturation per gate, radius, dead, first, peak, worst, flow."""
    health: Mapping[str, float] = field(default_factory=dict)
    """Gibberish index, words, punctuation and repetition of the sample."""
    sample: str = ""
    squares: float | None = None
    """Sum of Adam's second moments: a running mean of the squared gradient norm, after any clipping."""
    seconds: float = 0.0
    finite: bool = True
    """Whether all weights are numbers."""

    def group_norms(self) -> dict[str, float]:
        """Return the L2 norm of the weights per layer, embedding and head."""
        squares: dict[str, float] = {}
        for name, norm in self.weights.items():
            squares[group_of(name)] = squares.get(group_of(name), 0.0) + norm * norm
        return {group: math.sqrt(total) for group, total in squares.items()}

    @property
    def radius(self) -> float:
        """The largest spectral radius of a candidate block, nan if nothing was probed."""
        return max((float(layer["radius"]) for layer in self.layers), default=math.nan)

    @property
    def worst(self) -> float:
        """The largest gradient through time of any example, over that of the last step."""
        return max((float(layer["worst"]) for layer in self.layers), default=math.nan)

    @property
    def gibberish(self) -> float:
        """0 for the text itself, 1 for random letters; nan if there is no sample."""
        return float(self.health.get("gibberish", math.nan))

    def saturation(self, gates: str = "") -> float:
        """Return the mean share of gate activations at their ends, of these gates or of all."""
        shares = [share for layer in self.layers for gate, share in layer["saturation"].items()
                  if not gates or gate in gates]
        return float(np.mean(shares)) if shares else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return asdict(self)


class Examiner:
    """Examines checkpoints of one model on a fixed part of one text, in order, because neighbours are compared."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        config, text = subject.config, subject.corpus
        self._before: Weights | None = None
        self._model = make_model(config, len(text.vocabulary))
        self._evaluator = Evaluator(config, self._model, text.validation, part_rows=ROWS, part_windows=WINDOWS)
        self._part = config.loss == "last" or len(text.validation) > 2 * (WARM + PART_LENGTH)
        self._probe = Probe(config, text.validation, torch.device("cpu"))
        self._tables = SampleHealth(decode(text.train, text.vocabulary), decode(text.validation, text.vocabulary))

    def weights(self, stored: Stored) -> tuple[dict[str, NDArray[np.float32]], Adam | None]:
        """Return our parameters, and Adam's moments of them. Raises Unfit if it is another model than the others."""
        conversion = fit(stored)
        if conversion.model != self._subject.model:
            raise Unfit(f"it is another model than the others: {conversion.model.words}")
        weights = in_our_order(conversion.weights(stored.arrays), self._subject)
        moments = conversion.moments(stored.adam) if stored.adam is not None else None
        if stored.adam is None or moments is None:
            return weights, None
        first, second = (in_our_order(each, self._subject) for each in moments)
        return weights, Adam(first, second, stored.adam.steps, stored.adam.betas, stored.adam.lr)

    def skip(self, stored: Stored) -> None:
        """Take a checkpoint as the one before, whose numbers are known already."""
        self._before = self.weights(stored)[0]

    def read(self, name: str, step: int, stored: Stored) -> Examined:
        """Examine a checkpoint. Raises Unfit."""
        began = time.monotonic()
        weights, adam = self.weights(stored)
        before, self._before = self._before, weights
        norms = {part: _norm(array) for part, array in weights.items()}
        if not all(math.isfinite(norm) for norm in norms.values()):
            whole = {part: _short(norm) for part, norm in norms.items() if math.isfinite(norm)}
            return Examined(name, step, None, weights=whole, finite=False)
        snapshot = Snapshot(0, step, {f"model.{part}": torch.from_numpy(array) for part, array in weights.items()}, {})
        loss = self._loss(snapshot)
        looked = self._probe.read(snapshot)
        sample = self._sample(weights)
        return Examined(
            name, step, _plain(loss), _plain(looked["entropy"]), {part: _short(norm) for part, norm in norms.items()},
            _moved(weights, before), tuple(_finite(layer) for layer in looked["layers"]), self._tables.read(sample),
            sample, _squares(adam), round(time.monotonic() - began, 3))

    def _loss(self, snapshot: Snapshot) -> float:
        nats, count = 0.0, 1
        for total, read in self._evaluator.run(snapshot, part=self._part):
            nats, count = float(total), max(1, read)
        return nats / count

    def _sample(self, weights: Weights) -> str:
        text, config = self._subject.corpus, self._subject.config
        prompt = text.validation[: min(PROMPT, len(text.validation))]
        stream = Stream(NumpyRNN(weights, config.cell, config.layers), prompt, SAMPLE, 1.0, np.random.default_rng(SEED))
        drawn: list[int] = []
        while not stream.done:
            drawn += stream.advance(SAMPLE)[0]
        return decode(np.array(drawn, dtype=np.uint32), text.vocabulary)


def group_of(parameter: str) -> str:
    """Return the name that a live run has for the group of a parameter."""
    part, _, rest = parameter.partition(".")
    return part if part in ("embedding", "head") else groups.layer(int(rest.rpartition("_l")[2]) + 1)


def _moved(weights: Weights, before: Weights | None) -> dict[str, float]:
    if before is None:
        return {}
    squares: dict[str, float] = {}
    for name, array in weights.items():
        distance = _norm(array - before[name])
        squares[group_of(name)] = squares.get(group_of(name), 0.0) + distance * distance
    return {group: _short(math.sqrt(total)) for group, total in squares.items()}


def _squares(adam: Adam | None) -> float | None:
    if adam is None:
        return None
    # A model with one bias was given two, with the same moments: counted once.
    total = math.fsum(float(np.sum(array, dtype=np.float64)) for name, array in adam.second.items()
                      if ".bias_hh" not in name)
    return _plain(total)


def _norm(array: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(array.astype(np.float64).ravel()))


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _plain(value: float) -> float | None:
    return _short(value) if math.isfinite(value) else None


def _finite(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a probe's numbers as JSON can hold them."""
    return {name: 1e30 if isinstance(value, float) and not math.isfinite(value) else
            _short(value) if isinstance(value, float) else list(value) if isinstance(value, tuple) else value
            for name, value in layer.items()}
