"""A session without thread and engine: what it says is told to it, what is asked of it is kept."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tuitrain.errors import RunError
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.telemetry.run_state import RunState
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.picture import Picture

CONFIG: dict[str, Any] = {
    "lr": 0.003, "clip": 1.0, "temperature": [0.5, 0.75, 1.0], "prompt": "random", "steps": 1000, "batch_size": 16,
    "bptt": 64, "on_divergence": "rollback", "clip_kind": "norm", "layers": 2, "hidden": 128, "embedding": 128,
    "optimizer": "adam", "lr_schedule": "constant"}
FACTS = {"train": 90_000, "validation": 10_000, "parameters": 283_981, "steps_per_epoch": 88}
START = e.RunStarted(config=CONFIG, vocabulary="ab", versions={}, device="cpu", threads=2, precision="fp32",
                     facts=FACTS)
CLOCK = 1_700_000_000.0


def steps(first: int, count: int, *, loss: float | None = None, norm: float = 0.3, branch: int = 0) -> e.StepsDone:
    losses = tuple(1.3 + 2.0 * math.exp(-(first + i) / 200) if loss is None else loss for i in range(count))
    norms = tuple(norm * (1 + 0.3 * math.sin(first + i)) for i in range(count))
    return e.StepsDone(branch=branch, first_step=first, epoch=first / 88, loss=losses, grad_norm=norms, every=1,
                       clipped=tuple(int(n > 1) for n in norms), skipped=(0,) * count, lr=(0.003,) * count,
                       clip=(1.0,) * count, norms={"embedding": norms, "layer 1": norms, "head": norms}, seconds=1.0)


def healthy() -> list[e.Event]:
    """A run of 600 steps with an evaluation, restore points and a sample."""
    story: list[e.Event] = [START]
    for first in range(1, 601, 50):
        story.append(steps(first, 50))
    story += [
        e.SnapshotTaken(branch=0, step=300, id="", by="", reason="interval", pinned=False, bytes=3_450_000, point="s7"),
        e.CheckpointSaved(branch=0, step=500, id="", by="", reason="interval", path="checkpoints/b0-s500.safetensors",
                          bytes=3_450_000, seconds=0.02, params_sha256="0"),
        e.Evaluated(branch=0, step=512, loss=1.6, bpc=1.6 / math.log(2), best=True, characters=10_000,
                    reason="interval", seconds=1.0),
        sample("The harbour lay quiet that evening, and nobody spoke of the boats that had not come home.\n"),
    ]
    return story


def sample(text: str) -> e.SamplePiece:
    return e.SamplePiece(branch=0, step=512, temperature=0.75, prompt="It was late. ", text=text, first=True,
                         bits=tuple(float(i % 9) for i in range(len(text))))


class Script:
    """A Session that a test writes."""

    def __init__(self, events: list[e.Event] | None = None) -> None:
        self._events = list(events or ())
        self.asked: list[c.Command] = []
        self.closed = False
        self.broken = False
        self.connection = "live"
        self.state = RunState()

    def say(self, *events: e.Event) -> None:
        self._events += events

    def send(self, command: c.Command) -> None:
        if self.broken:
            raise RunError("the run has ended or its process is gone")
        self.asked.append(command)

    def drain(self, timeout: float = 0.0) -> list[e.Event]:
        return [event for event, _ in self.drain_timed(timeout)]

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[e.Event, float]]:
        events, self._events = self._events, []
        return [(event, CLOCK) for event in events]

    def close(self) -> None:
        self.closed = True


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, not for a time."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def settled(app: CockpitApp, pilot: Any) -> None:
    """Wait until what the script says is on the screen."""
    await until(lambda: app.view.connection != "starting" and app.state.status != "starting")
    await until(lambda: app.view.connection == "gone" or not getattr(app.session, "closed", False))
    app.redraw_plots()
    await until(lambda: "step" in screen(app))
    app.redraw_plots()
    await pilot.pause()


def screen(app: CockpitApp) -> str:
    """All that the panes show, as plain text."""
    rows = []
    for pane in app.cockpit.query(Picture):
        if pane.display:
            rows += [pane.render_line(y).text for y in range(pane.content_size.height)]
    return "\n".join(rows)


def drive(script: Script, act: Callable[[CockpitApp, Any], Awaitable[None]], *, size: tuple[int, int] = (120, 40),
          live: bool = True, run: str = "runs/harbour-1", braille: bool = True) -> CockpitApp:
    """Open the cockpit on a script, act, close it."""
    app = CockpitApp(Path(run), lambda: script, braille=braille, clock=lambda: CLOCK)

    async def sitting() -> None:
        async with app.run_test(size=size) as pilot:
            if live:
                await until(lambda: app.view.connection == "live" and app.state.status != "starting")
                app.redraw_plots()
                await until(lambda: size[1] < 10 or "step" in screen(app))
                app.redraw_plots()
                await pilot.pause()
            await act(app, pilot)

    asyncio.run(sitting())
    return app
