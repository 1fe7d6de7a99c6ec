"""Times a few steps to find the threads and the number format with which a run is fastest on this machine."""

import hashlib
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tuitrain.charlstm import runtime
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.start import choices, formats
from tuitrain.charlstm.start.choices import Choice
from tuitrain.engine.promise import UNDISTURBED
from tuitrain.telemetry.units import many, number

BF16_GAIN = 1.2
"""Factor by which bf16 must be faster to be chosen."""
CLEARLY = 1.1
"""Factor by which another number of threads must be faster than a thread per core to be chosen, in most rounds."""
ROUNDS, LONGEST_RACE = 7, 3.0
"""Largest number of timed steps of each candidate, and about the largest time of a race in seconds."""


def choose(config: Config, device: str, characters: int, report: runtime.Report) -> Choice:
    """Choose threads and precision for this machine and shape by timing a few steps; remembered for some days.

    A race on a busy machine is neither trusted nor remembered: it results in a thread per core, or for this run in
    fewer if these win by more than the idle cores could ever gain. Consumes neither data nor a seed: the scratch model
    has its own, and the run seeds torch afterwards.
    """
    key = _key(config, device, characters)
    known = choices.remembered().get(key)
    if known is not None:
        report(f"timed before: {known[1].compared}")
        return known[1]
    choice, trusted = _race(config, device, characters, report)
    if trusted:
        choice = replace(choice, key=key)
        choices.remember(choice)
    return choice


def _race(config: Config, device: str, characters: int, report: runtime.Report) -> tuple[Choice, bool]:
    """Return the choice, and whether the machine was quiet enough to trust it.

    The candidates take turns, so that a short disturbance of the machine affects all of them.
    """
    asked = config.threads
    counts = [int(asked)] if asked != "auto" else sorted({cores(), max(1, cores() // 2), 1}, reverse=True)
    if device == "cuda":
        return _rehearsed(config, characters, counts[0], report), True
    report("loading the optimizer")
    runner = _Runner(config, device, characters)
    report("timing steps")
    began = time.perf_counter()
    deadline = began + LONGEST_RACE * 2 / 3  # leaves time for the other precision
    looks = _look(runner, counts, config.bptt, deadline, report)
    length = max(looks[max(looks)])  # the largest number of characters per row timed with all of them
    times = {count: [looks[count][length][0]] for count in counts if count in looks}
    used = {count: looks[count][length][1] for count in times}
    for _ in range(ROUNDS - 1):
        if time.perf_counter() + sum(min(taken) for taken in times.values()) > deadline:
            break
        for count in times:
            seconds, share = runner.step(count, "fp32", length, warm=False)
            times[count].append(seconds)
            used[count] = max(used[count], share)
    trusted, complete = all(share >= UNDISTURBED for share in used.values()), len(times) == len(counts)
    winner = fastest if trusted else endurable
    threads = winner(times) if complete else counts[0] if trusted else min(times)
    whole = {count: config.bptt * min(min(taken) / length, _per_character(looks[count]))
             for count, taken in times.items()}
    precision, seconds = "fp32", whole.get(threads, min(whole.values()))
    compared = ", ".join(_words(count, whole[count]) for count in times)
    if not complete:
        compared += ", too slow to time more"
    # Autocast leaves a GRU in fp32 on a CPU, so nothing can be gained.
    half_possible = config.precision == "auto" and formats.cpu_has_bf16() and config.cell == "lstm"
    if config.precision == "bf16" or (half_possible and _in_time(began + LONGEST_RACE, min(map(min, times.values())))):
        half = runner.step(threads, "bf16", length, warm=True)[0]
        for _ in range(max(map(len, times.values())) - 1):
            if time.perf_counter() + half <= began + LONGEST_RACE:
                half = min(half, runner.step(threads, "bf16", length, warm=False)[0])
        half *= config.bptt / length
        compared += f"; bf16 {half:.2g} s"
        if config.precision == "bf16" or seconds / half >= BF16_GAIN:
            precision, seconds = "bf16", half
    if not trusted:
        fewer = "" if threads == counts[0] else " for now"
        compared += f" on a busy machine, so {many(threads, 'thread')}{fewer} and timed again at the next start"
    report(f"timed: {compared}")
    runtime.apply(threads)
    # Without a comparison nothing is remembered: on a busy machine any model is that slow for a second.
    return Choice(threads, precision, seconds, compared), trusted and complete


Looks = dict[int, tuple[float, float]]
"""By characters per row, the seconds of the first step and the share of them that each thread computed."""


def _look(runner: "_Runner", counts: Sequence[int], whole: int, deadline: float, report: runtime.Report
          ) -> dict[int, Looks]:
    """Time first steps by number of threads, fewest first; rows never get longer from one number to the next.

    A step that takes too long cannot be interrupted, so the first has one character per row, and each next one twice as
    many, up to the whole length or as far as time allows. On a busy machine, threads that wait for one another may take
    fifty times as long as one, so they are timed later, and not at all if a few are slow already.
    """
    looks: dict[int, Looks] = {}
    most = whole
    for count in sorted(counts):
        if looks and not _in_time(deadline, max(seconds for seconds, _ in looks[min(looks)].values())):
            break
        looks[count], length = {}, 1
        while True:
            look = looks[count][length] = runner.step(count, "fp32", length, warm=length == 1)
            if length == most or time.perf_counter() + 4 * look[0] * len(counts) > deadline:
                break
            length = min(most, 2 * length)
        most = length
        report(f"timing steps: {_words(count, _per_character(looks[count]) * whole)}")
    return looks


def _per_character(looks: Looks) -> float:
    """Return the seconds of a step per character of a row."""
    return min(seconds / length for length, (seconds, _) in looks.items())


def _in_time(deadline: float, step: float) -> bool:
    """Return whether two more steps of this length end before the deadline: the first of a kind is a warm-up."""
    return time.perf_counter() + 2 * step <= deadline


def _rehearsed(config: Config, characters: int, threads: int, report: runtime.Report) -> Choice:
    """Time a step on a GPU, where there is nothing to choose, to convert intervals in seconds into steps."""
    from tuitrain.charlstm import rehearsal

    seconds, how = rehearsal.seconds(config, characters)
    compared = f"{how} steps of {seconds:.2g} s"
    report(f"timed: {compared}")
    runtime.apply(threads)
    return Choice(threads, config.precision, seconds, compared)


def _words(count: int, seconds: float) -> str:
    return f"{many(count, 'thread')} {number(seconds, 2)} s"


def fastest(times: dict[int, list[float]]) -> int:
    """Return the number of threads to use, given the seconds of steps timed in turns.

    That is the first number, unless another one wins clearly and in more than half of the turns.
    """
    first, *others = times
    best = first
    for count in others:
        pairs = list(zip(times[first], times[count], strict=False))
        wins = sum(theirs * CLEARLY <= ours for ours, theirs in pairs)
        if 2 * wins > len(pairs) and min(times[count]) * CLEARLY <= min(times[first]) \
                and min(times[count]) < min(times[best]):
            best = count
    return best


def endurable(times: dict[int, list[float]]) -> int:
    """Return the number of threads to use on a busy machine.

    That is the first number, unless fewer threads win by twice what the others could save. While other programs
    compute, threads that wait for one another can take fifty times as long.
    """
    first, *others = times
    ours = min(times[first])
    far = [count for count in others if min(times[count]) * 2 * first / count < ours]
    return min(far, key=lambda count: min(times[count]), default=first)


class _Runner:
    """Plain training steps of a scratch model: forward, backward, Adam."""

    def __init__(self, config: Config, device: str, characters: int) -> None:
        import torch

        from tuitrain.charlstm.model.network import CharRNN

        self._config, self._device = config, device
        self._model = CharRNN(characters, cell=config.cell, layers=config.layers, hidden=config.hidden,
                              embedding=config.embedding, dropout=config.dropout,
                              init="uniform").to(device)  # the fastest initialisation
        self._optimizer = torch.optim.Adam(self._model.parameters(), 1e-3, fused=True)
        generator = torch.Generator().manual_seed(0)
        self._ids = torch.randint(characters, (config.batch_size, config.bptt + 1), generator=generator).to(device)

    def step(self, threads: int, precision: str, length: int, *, warm: bool) -> tuple[float, float]:
        """Time a step of `length` characters per row; return its seconds and the share of them each thread computed.

        `warm`: make a warm-up step before, unless that takes so long that it has to be the measurement.
        """
        runtime.apply(threads)
        if warm:
            began, used = time.perf_counter(), time.process_time()
            self._learn(precision, length)
            seconds = time.perf_counter() - began
            if seconds > LONGEST_RACE / 4:
                # Set-up runs on one thread, so the most to expect is one thread that computes all the time.
                return seconds, min(1.0, (time.process_time() - used) / seconds)
        began, used = time.perf_counter(), time.process_time()
        self._learn(precision, length)
        seconds = time.perf_counter() - began
        return seconds, (time.process_time() - used) / (seconds * threads)

    def _learn(self, precision: str, length: int) -> None:
        import torch

        last = self._config.loss == "last"
        with runtime.autocast(self._device, precision):
            logits, _ = self._model(self._ids[:, :length], last=last)
            targets = self._ids[:, length : length + 1] if last else self._ids[:, 1 : length + 1]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _key(config: Config, device: str, characters: int) -> str:
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    shape: list[Any] = [config.cell, config.layers, config.hidden, config.embedding, config.batch_size, config.bptt,
                        config.loss, characters, config.threads, config.precision, config.dropout > 0]
    if device == "cuda":
        shape += [config.graph, config.optimizer, config.clip_kind]
    machine = [name, cores(), torch.__version__, platform.libc_ver()[0], os.environ.get("TUITRAIN_MALLOPT")]
    return hashlib.sha256(json.dumps([shape, machine]).encode()).hexdigest()[:16]
