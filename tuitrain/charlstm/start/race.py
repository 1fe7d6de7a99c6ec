"""A race of a few timed steps: with how many threads, and in which number format, a run is fastest on this machine."""

import hashlib
import json
import os
import platform
import time
from dataclasses import replace
from typing import Any

from tuitrain.charlstm import runtime
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.start import choices, formats
from tuitrain.charlstm.start.choices import Choice
from tuitrain.engine.promise import UNDISTURBED
from tuitrain.telemetry.units import many

BF16_GAIN = 1.2
"""bf16 is taken only where it is at least this much faster."""
CLEARLY = 1.1
"""A thread per core is the plain way; another number is taken only where it is at least this much faster, and in most
rounds."""
ROUNDS, LONGEST_RACE = 7, 3.0
"""Timed steps of each candidate at the most, and seconds that a race takes, about."""


def choose(config: Config, device: str, characters: int, report: runtime.Report) -> Choice:
    """Threads and precision for this machine and shape, by a race of a few timed steps, remembered for some days.

    A race on a busy machine is neither trusted nor remembered: then it is a thread per core, or for this run fewer
    where that wins by more than those cores could ever give back. Consumes neither data nor a seed: the scratch model
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
    """The choice, and whether the machine was quiet enough to trust it.

    The candidates take turns, so that what disturbs the machine for a moment disturbs all of them.
    """
    asked = config.threads
    counts = [int(asked)] if asked != "auto" else sorted({cores(), max(1, cores() // 2), 1}, reverse=True)
    if device == "cuda":
        return _rehearsed(config, characters, counts[0], report), True
    asked_counts = tuple(counts)
    report("timing steps")
    runner = _Runner(config, device, characters)
    times: dict[int, list[float]] = {count: [] for count in counts}
    used: dict[int, float] = {}
    began = time.perf_counter()
    deadline = began + LONGEST_RACE * 2 / 3  # the rest is for the other precision
    for turn in range(ROUNDS):
        for count in list(counts):
            if turn == 0 and count != counts[0] and not _in_time(deadline, max(map(max, filter(None, times.values())))):
                counts.remove(count)
                del times[count]
                continue
            seconds, share = runner.step(count, "fp32", warm=turn == 0)
            times[count].append(seconds)
            used[count] = max(used.get(count, 0.0), share)
            if turn == 0:
                report(f"timing steps: {_words(count, seconds)}")
        if time.perf_counter() + sum(min(taken) for taken in times.values()) > deadline:
            break
    trusted = all(share >= UNDISTURBED for share in used.values())
    threads = fastest(times) if trusted else endurable(times)
    precision, seconds = "fp32", min(times[threads])
    compared = ", ".join(_words(count, min(times[count])) for count in counts)
    if len(counts) < len(asked_counts):
        compared += ", too slow to time more"
    # Autocast leaves a GRU in fp32 on a CPU: there is nothing to win.
    half_possible = config.precision == "auto" and formats.cpu_has_bf16() and config.cell == "lstm"
    if config.precision == "bf16" or (half_possible and _in_time(began + LONGEST_RACE, seconds)):
        half = runner.step(threads, "bf16", warm=True)[0]
        for _ in range(len(times[threads]) - 1):
            if time.perf_counter() + half <= began + LONGEST_RACE:
                half = min(half, runner.step(threads, "bf16", warm=False)[0])
        compared += f"; bf16 {half:.2g} s"
        if config.precision == "bf16" or seconds / half >= BF16_GAIN:
            precision, seconds = "bf16", half
    if not trusted:
        fewer = "" if threads == counts[0] else " for now"
        compared += f" on a busy machine, so {many(threads, 'thread')}{fewer} and timed again at the next start"
    report(f"timed: {compared}")
    runtime.apply(threads)
    # Where nothing could be compared there is nothing to remember: a crowded second makes any model that slow.
    return Choice(threads, precision, seconds, compared), trusted and len(counts) == len(asked_counts)


def _in_time(deadline: float, step: float) -> bool:
    """Whether two more steps that take about as long are over by then: the first one of a kind is for warming up."""
    return time.perf_counter() + 2 * step <= deadline


def _rehearsed(config: Config, characters: int, threads: int, report: runtime.Report) -> Choice:
    """On a GPU there is nothing to choose, but intervals in seconds need to know how long a step will take."""
    from tuitrain.charlstm import rehearsal

    seconds, how = rehearsal.seconds(config, characters)
    compared = f"{how} steps of {seconds:.2g} s"
    report(f"timed: {compared}")
    runtime.apply(threads)
    return Choice(threads, config.precision, seconds, compared)


def _words(count: int, seconds: float) -> str:
    return f"{count} thread{'s' * (count > 1)} {seconds:.2g} s"


def fastest(times: dict[int, list[float]]) -> int:
    """The number of threads to take, from the seconds of steps in turns: the first unless another wins clearly and in
    more than half of the turns."""
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
    """The number of threads to take on a busy machine: the first, unless fewer win by twice what the threads that they
    do without could save. Where others compute, threads that wait for one another can take fifty times as long."""
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
                              init="uniform").to(device)  # the quickest to draw
        self._optimizer = torch.optim.Adam(self._model.parameters(), 1e-3, fused=True)
        generator = torch.Generator().manual_seed(0)
        self._ids = torch.randint(characters, (config.batch_size, config.bptt + 1), generator=generator).to(device)

    def step(self, threads: int, precision: str, *, warm: bool) -> tuple[float, float]:
        """Seconds of a step with so many threads, and the share of them that each thread computed. `warm`: take
        another one before, which also pays for set-up, unless a step is so slow that one must do."""
        runtime.apply(threads)
        if warm:
            began, used = time.perf_counter(), time.process_time()
            self._learn(precision)
            seconds = time.perf_counter() - began
            if seconds > LONGEST_RACE / 4:
                # Set-up is done by one thread, so one that computes all the time is all that can be asked for.
                return seconds, min(1.0, (time.process_time() - used) / seconds)
        began, used = time.perf_counter(), time.process_time()
        self._learn(precision)
        seconds = time.perf_counter() - began
        return seconds, (time.process_time() - used) / (seconds * threads)

    def _learn(self, precision: str) -> None:
        import torch

        last = self._config.loss == "last"
        with runtime.autocast(self._device, precision):
            logits, _ = self._model(self._ids[:, :-1], last=last)
            targets = self._ids[:, -1:] if last else self._ids[:, 1:]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()


def cores() -> int:
    """Processor cores this process may use."""
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
