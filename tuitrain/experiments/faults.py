"""Faults to inject into a short healthy run, each with the causes that count as right. The analyst knows none of this.

A fault receives the trainer before its first step and prepares what happens from step `at` on.
"""

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from tuitrain.charlstm.machine import Machine
from tuitrain.engine.trainer import Trainer
from tuitrain.protocol import commands as c
from tuitrain.specs import check_declared
from tuitrain.troubles import CAUSES

Inject = Callable[[Trainer, int, np.random.Generator], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault and the causes that count as `right`; none for a healthy run, in which no alarm may be raised."""

    name: str
    words: str
    right: tuple[str, ...]
    inject: Inject
    options: dict[str, Any] = field(default_factory=dict)
    from_start: bool = False
    """Present from the first step, so that neither delay nor recovery can be measured."""
    sudden: bool = False
    """Steps are too large from one step to the next; the summary counts the delay of these faults."""

    def __post_init__(self) -> None:
        """Raise RuntimeError for a cause that is not declared."""
        check_declared(f"causes of {self.name}", (c for c in self.right if c in CAUSES), self.right)


def machine_of(trainer: Trainer) -> Machine:
    """Return the machine of a trainer."""
    assert isinstance(trainer.machine, Machine)
    return trainer.machine


def each_step(trainer: Trainer, act: Callable[[int], None]) -> None:
    """Call `act` with the number of each step just before the step is made."""
    learn = trainer.machine.learn

    def learn_after_act() -> None:
        act(trainer.machine.progress.step + 1)
        learn()

    trainer.machine.learn = learn_after_act  # type: ignore[method-assign]


def larger_steps(factor: float, over: int = 0) -> Inject:
    """Multiply the rate that the optimizer uses, not the reported one; a rollback with a lower lr lowers it too."""
    def inject(trainer: Trainer, at: int, rng: np.random.Generator) -> None:
        optimizer = machine_of(trainer).optimizer
        original = optimizer.set_lr

        def set_lr(lr: Any) -> None:
            step = trainer.machine.progress.step + 1
            # The fault is on the first branch only: after a rollback it does not occur again.
            on = step >= at and trainer.machine.progress.branch == 0
            share = min(1.0, (step - at + 1) / over) if over else 1.0
            original(lr * (1 + (factor - 1) * share) if on else lr)

        optimizer.set_lr = set_lr  # type: ignore[method-assign]

    return inject


def other_text(count: int, change: Callable[[np.ndarray[Any, Any], int, np.random.Generator], Any]) -> Inject:
    """Change the text of the next `count` batches, at most half an epoch; after a rollback they are still changed."""
    def inject(trainer: Trainer, at: int, rng: np.random.Generator) -> None:
        machine = machine_of(trainer)

        def act(step: int) -> None:
            if step != at or machine.progress.branch:
                return
            ids, cursor = machine.learner._ids, copy.deepcopy(machine.cursor)
            touched = np.zeros(len(ids), dtype=bool)
            for _ in range(min(count, cursor.batches_per_epoch // 2)):
                for offset in cursor.next().offsets:
                    touched[offset : offset + machine.config.bptt + 1] = True
            text = ids.cpu().numpy().copy()
            text[touched] = change(text[touched], len(machine.corpus.vocabulary), rng)
            machine.learner._ids = torch.from_numpy(text).to(ids.device)

        each_step(trainer, act)

    return inject


def shuffled(ids: np.ndarray[Any, Any], size: int, rng: np.random.Generator) -> Any:
    """Return the same characters in random order."""
    return rng.permutation(ids)


def noisy(share: float) -> Callable[[np.ndarray[Any, Any], int, np.random.Generator], Any]:
    """Return a change that replaces a share of the characters."""
    def change(ids: np.ndarray[Any, Any], size: int, rng: np.random.Generator) -> Any:
        return np.where(rng.random(len(ids)) < share, rng.integers(0, size, len(ids)), ids)

    return change


def foreign(ids: np.ndarray[Any, Any], size: int, rng: np.random.Generator) -> Any:
    """Return text in another language: each character consistently replaced by another."""
    return rng.permutation(size)[ids]


def as_bytes(ids: np.ndarray[Any, Any], size: int, rng: np.random.Generator) -> Any:
    """Return uniformly random characters, as in binary data."""
    return rng.integers(0, size, len(ids))


def gradients(at_only: bool, value: float) -> Inject:
    """Set one element of the gradient to `value`, in one step or in all from then on."""
    def inject(trainer: Trainer, at: int, rng: np.random.Generator) -> None:
        machine = machine_of(trainer)

        def spoil() -> None:
            step = machine.progress.step + 1
            if step == at or (step > at and not at_only and machine.progress.branch == 0):
                grad = machine.model.rnn.get_parameter("weight_hh_l0").grad
                assert grad is not None
                grad[0, 0] = value

        machine.learner.on_gradients = spoil

    return inject


def overflow(trainer: Trainer, at: int, rng: np.random.Generator) -> None:
    """Multiply the head's weights until they overflow."""
    def act(step: int) -> None:
        if step == at and trainer.machine.progress.branch == 0:
            with torch.no_grad():
                machine_of(trainer).model.head.get_parameter("weight").data.mul_(1e38)

    each_step(trainer, act)


def large_recurrence(trainer: Trainer, at: int, rng: np.random.Generator) -> None:
    """Enlarge the recurrent weights; with SGD and no clip the gradient through time explodes."""
    def act(step: int) -> None:
        if step == at and trainer.machine.progress.branch == 0:
            with torch.no_grad():
                for name, parameter in machine_of(trainer).model.rnn.named_parameters():
                    if name.startswith("weight_hh"):
                        parameter.data.mul_(2.5)

    each_step(trainer, act)


def dead_start(trainer: Trainer, at: int, rng: np.random.Generator) -> None:
    """Close all gates from the beginning by their biases."""
    with torch.no_grad():
        for name, parameter in machine_of(trainer).model.rnn.named_parameters():
            if name.startswith("bias"):
                parameter.copy_(torch.full_like(parameter, -15.0))


def faint_weights(trainer: Trainer, at: int, rng: np.random.Generator) -> None:
    """Make the recurrent weights so small that hardly any gradient passes; with SGD they stay that way."""
    with torch.no_grad():
        model = machine_of(trainer).model
        for name, parameter in model.named_parameters():
            if name.startswith((f"{model.cell.name}.weight", "head.weight")):
                parameter.mul_(1e-9)


def nothing(trainer: Trainer, at: int, rng: np.random.Generator) -> None:
    """Leave the run healthy."""


def sensible_turns(trainer: Trainer, at: int, rng: np.random.Generator) -> None:
    """Simulate a person who lowers the rate, raises it again, sets clips and measures validation."""
    turns = {at: c.ScaleKnob(id="1", by="you", name="lr", factor=0.5),
             at + 150: c.SetKnob(id="2", by="you", name="clip", value=0.5),
             at + 300: c.ScaleKnob(id="3", by="you", name="lr", factor=2.0),
             at + 450: c.SetKnob(id="4", by="you", name="clip", value=2.0),
             at + 500: c.Evaluate(id="5", by="you")}

    def act(step: int) -> None:
        with contextlib.suppress(KeyError):
            trainer.orders.inbox.put(turns.pop(step))

    each_step(trainer, act)


def odd_batch(trainer: Trainer, at: int, rng: np.random.Generator) -> None:
    """Shuffle the characters of one batch."""
    other_text(1, shuffled)(trainer, at, rng)


def seam(trainer: Trainer, at: int, rng: np.random.Generator) -> None:
    """Move the cursor to the end of the epoch, so that the next one begins."""
    def act(step: int) -> None:
        if step == at:
            trainer.machine.cursor.index = trainer.machine.cursor.batches_per_epoch

    each_step(trainer, act)


TEXT = ("bad_data",)
FAULTS = {fault.name: fault for fault in (
    Fault("lr-x10", "steps ten times as large", ("lr_too_high",), larger_steps(10), sudden=True),
    Fault("lr-x33", "steps 33 times as large", ("lr_too_high",), larger_steps(33), sudden=True),
    Fault("lr-x100", "steps a hundred times as large", ("lr_too_high", "exploding_gradient"), larger_steps(100),
          sudden=True),
    Fault("lr-ramp", "steps that grow to 33 times over 500", ("lr_too_high",), larger_steps(33, over=500)),
    Fault("explosion", "SGD, no clip, enlarged recurrent weights", ("exploding_gradient",), large_recurrence,
          {"optimizer": "sgd", "lr": 2.0, "momentum": 0.0, "clip": 0.0}),
    Fault("odd-batch", "one batch of shuffled characters", ("outlier_batch",), odd_batch),
    Fault("shuffled", "a stretch of shuffled characters", TEXT, other_text(300, shuffled)),
    Fault("noise", "half of the characters replaced", TEXT, other_text(300, noisy(0.5))),
    Fault("foreign", "a stretch of another language", TEXT, other_text(300, foreign)),
    Fault("bytes", "a stretch of bytes", TEXT, other_text(300, as_bytes)),
    Fault("nan", "one gradient that is not a number", ("non_finite",), gradients(True, float("nan"))),
    Fault("overflow", "weights that overflow", ("non_finite",), overflow),
    Fault("tiny-corpus", "a text of 4,000 characters", ("overfitting",), nothing,
          {"limit": 4000, "val": 0.3, "evaluate_every": 100, "hidden": 96, "dropout": 0.0}, from_start=True),
    Fault("dead-start", "gates that are closed from the beginning", ("dead", "vanishing"), dead_start, {"lr": 1e-5},
          from_start=True),
    Fault("vanishing", "weights so small that no gradient passes", ("vanishing",), faint_weights,
          {"optimizer": "sgd", "lr": 0.5, "momentum": 0.0}, from_start=True),
    Fault("nothing-learned", "steps a thousand times too small", ("plateau",), nothing, {"lr": 1e-7, "warmup": 0},
          from_start=True))}
HEALTHY = {fault.name: fault for fault in (
    Fault("healthy", "nothing is wrong", (), nothing),
    Fault("healthy-last", "windows, last character", (), nothing, {"loss": "last", "stride": 3}),
    Fault("healthy-rmsprop", "RMSprop", (), nothing, {"optimizer": "rmsprop"}),
    Fault("healthy-sgd", "SGD", (), nothing, {"optimizer": "sgd", "lr": 1.0, "clip": 1.0}),
    Fault("healthy-muon", "Muon", (), nothing, {"optimizer": "muon", "lr": 5e-3}),
    Fault("warm-up", "a learning rate that grows for 400 steps", (), nothing, {"warmup": 400, "lr": 0.01}),
    Fault("turns", "a person turns the knobs sensibly", (), sensible_turns),
    Fault("seam", "an epoch ends", (), seam),
    Fault("small-batch", "batches of four", (), nothing, {"batch_size": 4}))}
