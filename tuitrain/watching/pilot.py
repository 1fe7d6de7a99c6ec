"""The object that a watched script calls.

An error in tuitrain's own code ends the watching, never the script's loop.
"""

import atexit
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from tuitrain.errors import ERROR, FINISHED, INTERRUPTED, TuitrainError, UsageError
from tuitrain.host.host import Host
from tuitrain.intervals import Every
from tuitrain.protocol import events as e
from tuitrain.protocol.commands import Command
from tuitrain.watching.gradients import global_norm, gradient_norms
from tuitrain.watching.leaving import UnseenExit, goes_on, how_it_left, notice_exit
from tuitrain.watching.loop import Loop
from tuitrain.watching.numbers import value_of
from tuitrain.watching.outlet import Outlet
from tuitrain.watching.subject import Stateful

if TYPE_CHECKING:
    from tuitrain.watching.ranks.follower import Follower, Nowhere, Unheard

FINISH_TIMEOUT = 10.0
"""Seconds allowed at the end for writing the events that are still queued."""
CALLS_WITHOUT_STEP = 200
"""After this many calls of `step` without an optimizer step, each call counts as a step."""
LEFT = "ended by the script"
T = TypeVar("T")


class Pilot:
    """The handle of a watched training loop, returned by `tuitrain.watch`.

    Every method may be called at any time, even after watching has ended: `step` then returns True unless a stop was
    requested, `clip_grad_norm_` clips as torch does, and the other methods do nothing.
    """

    def __init__(self, loop: "Loop | Follower", outlet: "Outlet | Unheard", host: "Host | Nowhere") -> None:
        self._loop, self._outlet, self._host = loop, outlet, host
        self._live, self._stopped = True, False
        self._calls = self._unseen = 0
        self._process = os.getpid()
        self._hooks: list[Any] = []
        for optimizer in loop.subject.optimizers:
            self._hooks += [optimizer.register_step_pre_hook(self._before),
                            optimizer.register_step_post_hook(self._after)]
        notice_exit()
        atexit.register(self._at_exit)

    @property
    def live(self) -> bool:
        """Whether the loop is being watched."""
        return self._live

    @property
    def steps(self) -> int:
        """Number of optimizer steps so far, including those before a resume."""
        return self._loop.subject.progress.step

    @property
    def run(self) -> str:
        """Path of the run folder."""
        return str(self._host.run.path)

    def step(self, loss: Any, **more: Any) -> bool:
        """Report a training step: its loss (a number, or a tensor on any device) and values of your own curves.

        Commands from a cockpit or `tuitrain send` are carried out inside this call; a pause waits here. Returns False
        once a stop was requested. `epoch`, the number of passes over the data, is shown as such. With several backward
        passes per optimizer step, call it after each of them or once per step.
        """
        if self._live:
            self._guarded(lambda: self._step(loss, more), None)
        return not self._stopped

    def clip_grad_norm_(self, parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                        error_if_nonfinite: bool = False, foreach: bool | None = None) -> Tensor:
        """Clip like `torch.nn.utils.clip_grad_norm_`: at `max_norm` until the clip knob is changed, then at the knob.

        Returns the total norm before clipping.
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
        """Measure the gradient norm for a loop that clips by itself afterwards.

        Returns the threshold to clip at, or None for no clipping.
        """
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
        """Declare that the loop clips by itself, at the value that `clip_in_force` returns before each step."""
        def report() -> None:
            recorder = self._loop.recorder
            recorder.script_clip = float(max_norm or 0.0)
            self._loop.offers.clips = True
            for event in self._loop.adopt_clip(recorder.script_clip):
                self._outlet.put(event)

        if self._live:
            self._guarded(report, None)

    def clip_in_force(self, otherwise: float) -> float:
        """Return the clip in force, 0 for none; `otherwise` if the loop is not being watched."""
        return self._loop.subject.knobs.clip if self._live else otherwise

    def evaluated(self, loss: Any, **others: Any) -> None:
        """Report a validation loss that the loop measured itself, and other numbers measured with it."""
        def report() -> None:
            for event in self._loop.measured({"loss": loss, **others}, "interval", 0.0):
                self._outlet.put(event)

        if self._live:
            self._guarded(report, None)

    def lacks(self, command: type[Command], why: str) -> None:
        """Declare that this loop cannot carry out a command; `why` is shown to the person who tries it."""
        if self._live:
            self._loop.offers.lacking[command.__name__] = why

    def lacks_clip(self, why: str) -> None:
        """Declare that the clip cannot be changed; `why` is shown to the person who tries it."""
        if self._live:
            self._loop.offers.lacking["clip"] = why

    def resumes_by(self, what: str) -> None:
        """Say how to go on from the run's checkpoint, where it is not by calling `tuitrain.watch` itself."""
        if self._live:
            self._loop.offers.resumes = f"run the script again with {what}"

    def register(self, name: str, stateful: Stateful) -> None:
        """Save and restore an object along with the model: a data loader, a gradient scaler, an average of the weights.

        After a resume, this call restores its state. A state that cannot be saved without pickle is left out, with a
        line on standard error. Raises UsageError for an object without `state_dict` and `load_state_dict`.
        """
        if not (hasattr(stateful, "state_dict") and hasattr(stateful, "load_state_dict")):
            raise UsageError(f"register({name!r}): a {type(stateful).__name__} has no state_dict and load_state_dict")
        if self._live:
            try:
                self._loop.subject.register(name, stateful)
            except TuitrainError as error:
                sys.stderr.write(f"tuitrain: {name} will not be saved: {error}\n")
            except Exception as error:
                self._give_up(error)

    def evaluate(self, fn: Callable[[], Any] | None = None, every: Every | None = None) -> Any:
        """Call `fn()` at an interval (a number of steps, or a time such as `'30s'` or `'5m'`) and on request.

        `fn` returns the validation loss, or a dict with `loss` and other numbers. Random generators and the modules'
        training flags are restored afterwards. If it raises, the exception is reported and `fn` is not called again;
        the loop goes on. Also works as a decorator: `@pilot.evaluate(every=500)`.
        """
        if fn is None:
            return lambda decorated: self.evaluate(decorated, every)
        if self._live:
            self._loop.evaluates(fn, every)
        return fn

    def sample(self, fn: Callable[[], Any] | None = None, every: Every | None = None) -> Any:
        """Show what `fn()` returns, text or numbers, in the cockpit; called and handled like `evaluate`."""
        if fn is None:
            return lambda decorated: self.sample(decorated, every)
        if self._live:
            self._loop.samples(fn, every)
        return fn

    def log(self, **values: Any) -> None:
        """Add a value to each named curve at the current step."""
        if self._live:
            self._guarded(lambda: self._log(values), None)

    def close(self) -> None:
        """End the run and save its last state. Called automatically when the script ends."""
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
            return  # in a forked child: the run belongs to the parent
        if self._outlet.failure is not None:
            raise self._outlet.failure
        recorder = self._loop.recorder
        recorder.loss(loss)
        self._calls += 1
        goes_on()
        if not recorder.stepped and recorder.updates == 0 and self._calls == CALLS_WITHOUT_STEP:
            self._outlet.put(e.EngineSaid(level="warning", text=(
                f"the optimizer made no step during {CALLS_WITHOUT_STEP} calls of pilot.step, so each call now counts "
                "as a step; check that the script steps the optimizer it passed to tuitrain.watch")))
        if not recorder.stepped and (recorder.updates or self._calls < CALLS_WITHOUT_STEP):
            recorder.carry_losses_over()
            return
        recorder.close_step()
        epoch = more.pop("epoch", None)
        if more:
            self._log(more)
        for event in self._loop.between(None if epoch is None else float(epoch)):
            self._outlet.put(event)
        if self._loop.ended:
            self._stopped = self._loop.stopped
            self._release()

    def _log(self, values: dict[str, Any]) -> None:
        step = self._loop.subject.progress.step
        for name, value in values.items():
            self._loop.recorder.numbers.curve(name, step, value_of(value))

    def _threshold(self, members: list[Any], max_norm: float) -> float | None:
        recorder = self._loop.recorder
        before = recorder.script_clip
        turned = before not in (None, self._loop.subject.knobs.clip)
        clip = recorder.threshold(members, max_norm)
        self._loop.offers.clips = self._loop.offers.sees_before = True
        if not turned and recorder.script_clip != before:
            for event in self._loop.adopt_clip(recorder.script_clip or 0.0):
                self._outlet.put(event)
        # Return the very number that was passed: as long as the knob is unchanged, nothing may be rounded.
        return max_norm if clip is not None and not turned and math.isfinite(max_norm) else clip

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._live:
            self._guarded(lambda: self._loop.recorder.before(optimizer, args, kwargs), None)

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._live:
            self._guarded(lambda: self._loop.recorder.after(optimizer), None)

    def _guarded(self, call: Callable[[], T], otherwise: T) -> T:
        """Return the result of `call`; if it raises, end the watching and return `otherwise`."""
        try:
            return call()
        except Exception as error:
            self._give_up(error)
            return otherwise

    def _give_up(self, error: Exception) -> None:
        """End the watching after an error of our own: print one line and remove all hooks from the loop."""
        if not self._live:
            return
        self._live = False
        sys.stderr.write(f"tuitrain: watching failed and is off; training goes on: {type(error).__name__}: "
                         f"{str(error).splitlines()[0] if str(error) else ''}\n")
        if os.environ.get("TUITRAIN_TRACEBACK"):
            traceback.print_exception(error)
        self._unhook()
        progress, ranks = self._loop.subject.progress, self._loop.subject.ranks
        try:
            ranks.end(stopped=False)
            self._outlet.put(e.RunEnded(
                reason="no longer watched", exit_code=ERROR, branch=progress.branch, step=progress.step,
                message=f"{type(error).__name__}: {error}"[:500], traceback="".join(traceback.format_exception(error))))
            self._outlet.finish(FINISH_TIMEOUT)
            self._loop.abandon()
        except Exception as second:
            sys.stderr.write(f"tuitrain: the end of the run could not be recorded: {second}\n")
        try:
            self._host.end()
        except Exception as third:
            sys.stderr.write(f"tuitrain: the run folder could not be unlocked: {third}\n")

    def _finish(self, events: Iterator[e.Event]) -> None:
        for event in events:
            self._outlet.put(event)
        self._release()

    def _release(self) -> None:
        """After the end of the run: remove the hooks, then finish the journal and unlock the folder."""
        self._live = False
        self._unhook()
        self._outlet.finish(FINISH_TIMEOUT)
        self._host.end()

    def _unhook(self) -> None:
        atexit.unregister(self._at_exit)
        for hook in self._hooks:
            hook.remove()
        self._loop.recorder.rates.restore()

    def _at_exit(self) -> None:
        if not self._live or os.getpid() != self._process:
            return
        error = how_it_left()
        if error is None:
            self.close()
        else:
            self._end_with(error)

    def _end_with(self, error: BaseException) -> None:
        """Record that the script ended by an exception of its own."""
        if not self._live:
            return
        self._loop.subject.ranks.part()  # their loops may be anywhere, or gone
        interrupted = isinstance(error, KeyboardInterrupt)
        words = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        # In the middle of an optimizer step the weights belong to no step, so they are not saved.
        save = not self._loop.recorder.inside and isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
        if isinstance(error, UnseenExit):
            events = self._loop.finish(LEFT, FINISHED, save=save)
        elif isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else (0 if error.code is None else ERROR)
            events = self._loop.finish("finished" if not code else LEFT, code & 0xFF, save=save)
        elif interrupted:
            events = self._loop.finish("interrupted", INTERRUPTED, save=save)
        else:
            events = self._loop.finish(e.CRASHED, ERROR, message=words, save=save,
                                       traceback="".join(traceback.format_exception(error)))
        self._guarded(lambda: self._finish(events), None)


@torch.no_grad()
def _norm(parameters: list[Any], norm_type: float) -> Tensor:
    """Return the total norm of the gradients without changing them."""
    if norm_type != 2.0 and hasattr(nn.utils, "get_total_norm"):
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None], norm_type)
    _, each = gradient_norms(parameters)
    return torch.as_tensor(global_norm(each)) if each else torch.tensor(0.0)
