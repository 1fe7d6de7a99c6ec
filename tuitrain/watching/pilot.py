"""What the script holds: a few calls beside its own. What goes wrong behind them ends the watching, never the loop."""

import atexit
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tuitrain.errors import ERROR, FINISHED, INTERRUPTED, TuitrainError, UsageError
from tuitrain.host.host import Host
from tuitrain.intervals import Every
from tuitrain.protocol import events as e
from tuitrain.protocol.commands import Command
from tuitrain.watching.gradients import norm_of_each, total
from tuitrain.watching.loop import Loop
from tuitrain.watching.numbers import value_of
from tuitrain.watching.outlet import Outlet
from tuitrain.watching.subject import Stateful

LAST_WORDS = 10.0
"""Seconds at the end in which what waits is written."""
UNSEEN = 200
"""Calls of `step` without any step of the optimizer after which each call counts as one."""
T = TypeVar("T")


class Pilot:
    """A run that is somebody's own loop; `tuitrain.watch` makes it.

    Every method may be called at any time, also when the watching is over: then `step` says True unless a stop was
    asked for, `clip_grad_norm_` clips as torch does, and the rest does nothing.
    """

    def __init__(self, loop: Loop, outlet: Outlet, host: Host) -> None:
        self._loop, self._outlet, self._host = loop, outlet, host
        self._live, self._stopped = True, False
        self._calls = self._unseen = 0
        self._process = os.getpid()
        self._hooks: list[Any] = []
        for optimizer in loop.subject.optimizers:
            self._hooks += [optimizer.register_step_pre_hook(self._before),
                            optimizer.register_step_post_hook(self._after)]
        atexit.register(self._at_exit)

    @property
    def live(self) -> bool:
        """Whether the loop is being watched."""
        return self._live

    @property
    def steps(self) -> int:
        """Steps of the optimizer until now, those before a resume included."""
        return self._loop.subject.progress.step

    @property
    def run(self) -> str:
        """The run's folder."""
        return str(self._host.run.path)

    def step(self, loss: Any, **more: Any) -> bool:
        """Say that a step was made: its loss (a number, or a tensor on any device) and numbers of curves of your own.

        Everything that was asked from a cockpit or by `tuitrain send` happens here; a pause waits here. Returns False
        once a stop was asked for. `epoch`, a number of passes over the data, is shown as such. With several backward
        passes to a step of the optimizer it may be called after each of them, or once.
        """
        if self._live:
            self._guarded(lambda: self._step(loss, more), None)
        return not self._stopped

    def clip_grad_norm_(self, parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                        error_if_nonfinite: bool = False, foreach: bool | None = None) -> Tensor:
        """As `torch.nn.utils.clip_grad_norm_`, at `max_norm` until somebody turns the clip, then at the knob.

        Returns the norm before clipping.
        """
        members: list[Any] = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        clip: float | None = max_norm
        if self._live:
            clip = self._guarded(lambda: self._threshold(members, max_norm), clip)
        if clip is None:
            norm = _norm(members, norm_type)
        else:
            norm = nn.utils.clip_grad_norm_(members, clip, norm_type, error_if_nonfinite, foreach)
        if self._live:
            self._guarded(lambda: self._loop.recorder.clipped(norm, clip), None)
        return norm

    def see_gradients(self, parameters: Iterable[Any], max_norm: float) -> float | None:
        """For a loop that clips by itself a moment later: measure the norm, say at what to clip (None: not at all)."""
        members = list(parameters)
        clip: float | None = max_norm if math.isfinite(max_norm) else None
        if not self._live:
            return clip
        clip = self._guarded(lambda: self._threshold(members, max_norm), clip)
        norm = _norm(members, 2.0)
        if self._live:
            self._guarded(lambda: self._loop.recorder.clipped(norm, clip), None)
        return clip

    def own_clip(self, max_norm: float) -> None:
        """For a loop that clips by itself, out of sight, at what `clip_in_force` says before each step."""
        def give() -> None:
            recorder = self._loop.recorder
            recorder.limited = float(max_norm or 0.0)
            self._loop.offers.clips = True
            for event in self._loop.clip_given(recorder.limited):
                self._outlet.put(event)

        if self._live:
            self._guarded(give, None)

    def clip_in_force(self, otherwise: float) -> float:
        """The clip as it was turned, 0 for none; `otherwise` where nobody watches."""
        return self._loop.subject.knobs.clip if self._live else otherwise

    def evaluated(self, loss: Any, **others: Any) -> None:
        """Say that the loop itself has measured a validation loss, and other numbers with it."""
        def tell() -> None:
            for event in self._loop.measured({"loss": loss, **others}, "interval", 0.0):
                self._outlet.put(event)

        if self._live:
            self._guarded(tell, None)

    def lacks(self, command: type[Command], why: str) -> None:
        """Say that this loop cannot do what a command asks, and why."""
        if self._live:
            self._loop.offers.lacking[command.__name__] = why

    def lacks_clip(self, why: str) -> None:
        """Say that the clip cannot be turned, and why."""
        if self._live:
            self._loop.offers.lacking["clip"] = why

    def register(self, name: str, stateful: Stateful) -> None:
        """Save and restore this along with the model: a data loader, a gradient scaler, an average of the weights.

        After a resume its state is set here. What cannot be saved without pickle is refused, and said.
        """
        if not (hasattr(stateful, "state_dict") and hasattr(stateful, "load_state_dict")):
            raise UsageError(f"register({name!r}): a {type(stateful).__name__} has no state_dict and load_state_dict")
        if self._live:
            try:
                self._loop.subject.register(name, stateful)
            except TuitrainError as error:
                sys.stderr.write(f"tuitrain: {name} is not kept: {error}\n")
            except Exception as error:
                self._give_up(error)

    def evaluate(self, fn: Callable[[], Any] | None = None, every: Every | None = None) -> Any:
        """Have `fn()` called every so many steps, or `'30s'`, `'5m'`, and whenever somebody asks for it.

        It returns the validation loss, or a dict of it (`loss`) and of other numbers. Generators and training flags
        are put back after it. An exception in it is told and ends it, not the loop. Also a decorator:
        `@pilot.evaluate(every=500)`.
        """
        if fn is None:
            return lambda decorated: self.evaluate(decorated, every)
        if self._live:
            self._loop.evaluates(fn, every)
        return fn

    def sample(self, fn: Callable[[], Any] | None = None, every: Every | None = None) -> Any:
        """Have `fn()` shown in the cockpit as `evaluate` is measured: text, or numbers."""
        if fn is None:
            return lambda decorated: self.sample(decorated, every)
        if self._live:
            self._loop.samples(fn, every)
        return fn

    def log(self, **values: Any) -> None:
        """Add a number to each of these curves at the present step."""
        if self._live:
            self._guarded(lambda: self._log(values), None)

    def close(self) -> None:
        """End the run: its last state is saved. Called of itself when the script ends."""
        if self._live:
            self._guarded(lambda: self._finish(self._loop.finish("finished", FINISHED)), None)

    def __enter__(self) -> "Pilot":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self._end_with(error)

    def _step(self, loss: Any, more: dict[str, Any]) -> None:
        if os.getpid() != self._process:
            return  # a process that was forked off: the run is not its own
        if self._outlet.failure is not None:
            raise self._outlet.failure
        recorder = self._loop.recorder
        recorder.loss(loss)
        self._calls += 1
        if not recorder.stepped and recorder.updates == 0 and self._calls == UNSEEN:
            self._outlet.put(e.EngineSaid(level="warning", text=(
                f"no step of the optimizer was seen in {UNSEEN} calls of step, so each call counts as one; is it the "
                "optimizer that was given to tuitrain.watch?")))
        if not recorder.stepped and (recorder.updates or self._calls < UNSEEN):
            recorder.part_of_a_step()
            return
        recorder.close_step()
        epoch = more.pop("epoch", None)
        if more:
            self._log(more)
        for event in self._loop.between(None if epoch is None else float(epoch)):
            self._outlet.put(event)
        if self._loop.ended is not None:
            self._stopped = True
            self._release()

    def _log(self, values: dict[str, Any]) -> None:
        step = self._loop.subject.progress.step
        for name, value in values.items():
            self._loop.recorder.numbers.curve(name, step, value_of(value))

    def _threshold(self, members: list[Any], max_norm: float) -> float | None:
        recorder = self._loop.recorder
        before, turned = recorder.limited, recorder.limited not in (None, self._loop.subject.knobs.clip)
        clip = recorder.threshold(members, max_norm)
        self._loop.offers.clips = self._loop.offers.sees_before = True
        if not turned and recorder.limited != before:
            for event in self._loop.clip_given(recorder.limited or 0.0):
                self._outlet.put(event)
        # The very number that was passed, so that nothing is rounded that nobody turned.
        return max_norm if clip is not None and not turned and math.isfinite(max_norm) else clip

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._live:
            self._guarded(lambda: self._loop.recorder.before(optimizer, args, kwargs), None)

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._live:
            self._guarded(lambda: self._loop.recorder.after(optimizer), None)

    def _guarded(self, call: Callable[[], T], otherwise: T) -> T:
        """What `call` gives; if it raises, the watching ends and the loop goes on with `otherwise`."""
        try:
            return call()
        except Exception as error:
            self._give_up(error)
            return otherwise

    def _give_up(self, error: Exception) -> None:
        """One line, and nothing more of us in the loop."""
        if not self._live:
            return
        self._live = False
        sys.stderr.write(f"tuitrain: the watching failed and is off, training goes on: {type(error).__name__}: "
                         f"{str(error).splitlines()[0] if str(error) else ''}\n")
        if os.environ.get("TUITRAIN_TRACEBACK"):
            traceback.print_exception(error)
        self._unhook()
        progress = self._loop.subject.progress
        try:
            self._outlet.put(e.RunEnded(
                reason="no longer watched", exit_code=ERROR, branch=progress.branch, step=progress.step,
                message=f"{type(error).__name__}: {error}"[:500], traceback="".join(traceback.format_exception(error))))
            self._outlet.finish(LAST_WORDS)
            self._loop.saves.abandon()
        except Exception as second:
            sys.stderr.write(f"tuitrain: and its end could not be written: {second}\n")
        try:
            self._host.end()
        except Exception as third:
            sys.stderr.write(f"tuitrain: and its folder could not be freed: {third}\n")

    def _finish(self, events: Iterator[e.Event]) -> None:
        for event in events:
            self._outlet.put(event)
        self._release()

    def _release(self) -> None:
        """The run has ended: let go of the loop, then of the folder."""
        self._live = False
        self._unhook()
        self._outlet.finish(LAST_WORDS)
        self._host.end()

    def _unhook(self) -> None:
        atexit.unregister(self._at_exit)
        for hook in self._hooks:
            hook.remove()
        self._loop.recorder.rates.put_back()

    def _at_exit(self) -> None:
        if not self._live or os.getpid() != self._process:
            return
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        if error is None:
            self.close()
        else:
            self._end_with(error)

    def _end_with(self, error: BaseException) -> None:
        """The script ends by an exception of its own."""
        if not self._live:
            return
        interrupted = isinstance(error, KeyboardInterrupt)
        words = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        # Between two parts of an optimizer's step the weights are of no step at all.
        save = not self._loop.recorder.inside and isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else (0 if error.code is None else ERROR)
            events = self._loop.finish("finished" if not code else "ended by the script", code & 0xFF, save=save)
        elif interrupted:
            events = self._loop.finish("interrupted", INTERRUPTED, save=save)
        else:
            events = self._loop.finish(e.CRASHED, ERROR, message=words, save=save,
                                       traceback="".join(traceback.format_exception(error)))
        self._guarded(lambda: self._finish(events), None)


@torch.no_grad()
def _norm(parameters: list[Any], norm_type: float) -> Tensor:
    """The norm of the gradients, which stay as they are."""
    if norm_type != 2.0 and hasattr(nn.utils, "get_total_norm"):
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None], norm_type)
    _, each = norm_of_each(parameters)
    return total(each) if each else torch.tensor(0.0)
