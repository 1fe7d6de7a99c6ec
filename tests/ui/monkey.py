"""A monkey at the cockpit: seeded random keys, clicks and sizes, in bursts. Looks for a screen that is blank or stale.

    python -m tests.ui.monkey --seeds 300
"""

import argparse
import asyncio
import contextlib
import random
import sys
import time
from pathlib import Path

import pyte
from textual import events
from textual.driver import Driver
from textual.geometry import Size

from tests.builders import CLOCK, healthy, steps
from tests.ui.script import Script, until
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.ui import app as cockpit_app
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.delta import Delta

KEYS = {"u": 8, "r": 5, "c": 5, "l": 5, "escape": 8, "enter": 14, "q": 2, "question_mark": 3, "w": 5, "z": 4,
        "ctrl+l": 2, "d": 1, "down": 4, "up": 2, "tab": 4, "t": 3, "n": 2, "g": 2, "m": 2, "slash": 2, "p": 2, "a": 2,
        "x": 2, "R": 2, "space": 2, "minus": 2, "plus": 2, "1": 1, "3": 1, "7": 1, "y": 1, "less_than_sign": 1,
        "ctrl+p": 2, "s": 1, "k": 1, "v": 1, "backspace": 1, "full_stop": 1, "home": 1, "pagedown": 1}
"""Keys by Textual's names, with their weights."""
TYPED = {"escape": "\x1b", "enter": "\r", "question_mark": "?", "ctrl+l": "\x0c", "down": "\x1b[B", "up": "\x1b[A",
         "tab": "\t", "slash": "/", "space": " ", "minus": "-", "plus": "+", "less_than_sign": "<", "ctrl+p": "\x10",
         "backspace": "\x7f", "full_stop": ".", "home": "\x1b[H", "pagedown": "\x1b[6~"}
"""What a terminal sends for keys that do not stand for themselves."""
LINE = ["c", "l", "e", "a", "r", "enter", "t", "u", "i", "t", "r", "a", "i", "n", "space", "r", "u", "n", "s", "enter"]
"""A person who believes to be in the shell."""
KNOBS = {"lr": 0.003, "clip": 1.0, "temperature": [0.5, 0.75, 1.0], "prompt": "random", "steps": 1000}
PATIENCE = 60.0
SIZES = [(120, 40), (80, 24), (200, 60), (59, 15), (100, 30)]


class Engine(Script):
    """Trains nothing, answers everything and, unless `quiet`, has something new to say at every reading."""

    quiet = False

    def __init__(self, dice: random.Random) -> None:
        super().__init__(healthy())
        self._dice, self._step = dice, 601

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[e.Event, float]]:
        if self.quiet:
            return super().drain_timed(timeout)
        self.say(steps(self._step, 10))
        self._step += 10
        if self._dice.random() < 0.01:
            self.say(f.WarningRaised(branch=0, step=self._step, onset=self._step, rule="spike", value=24.0,
                                     threshold=20.0, sentence="one gradient norm of 7.2"))
        return super().drain_timed(timeout)

    def send(self, command: c.Command) -> None:
        super().send(command)
        who = {"id": command.id, "by": command.by}
        here = {"branch": 0, "step": self._step, **who}
        match command:
            case c.Pause():
                self.say(e.Paused(**here))
            case c.Continue():
                self.say(e.Continued(**here))
            case c.ScaleKnob():
                self.say(e.KnobChanged(name=command.name, old=1.0, new=command.factor, **here))
            case c.Rollback():
                self.say(e.RolledBack(from_branch=0, from_step=self._step, to_step=500, branch=1, asked=None,
                                      point="b0-s500", knobs=KNOBS, **who))
            case c.Undo():
                self.say(e.Undone(what="lr", knobs=KNOBS, **here))
            case _:
                self.say(e.CommandRefused(reason="the engine of the monkey cannot do that", **who))


class Emulated(Driver):
    """Writes through the same reduction as a real terminal, into an emulator."""

    shows: pyte.Screen
    """What a terminal shows."""
    whole: pyte.Screen
    """What it would show if nothing were left out."""

    def start_application_mode(self) -> None:
        width, height = self._size or SIZES[0]
        self._delta = Delta()
        self.shows, self.whole = pyte.Screen(width, height), pyte.Screen(width, height)
        self._reduced, self._all = pyte.Stream(self.shows), pyte.Stream(self.whole)
        assert isinstance(self._app, CockpitApp)
        self._app.forget_screen = self._delta.forget
        self._app.post_message(events.Resize(Size(width, height), Size(width, height)))

    def write(self, data: str) -> None:
        self._reduced.feed(self._delta.reduce(data, (self.shows.lines, self.shows.columns)))
        self._all.feed(data)

    def resize(self, width: int, height: int) -> None:
        for screen in (self.shows, self.whole):
            screen.resize(height, width)
        self._app.post_message(events.Resize(Size(width, height), Size(width, height)))

    def disable_input(self) -> None:
        pass

    def stop_application_mode(self) -> None:
        pass

    def close(self) -> None:
        pass


class Wrong(AssertionError):
    """What the monkey found."""


def rows(screen: pyte.Screen) -> list[str]:
    return [row.rstrip() for row in screen.display]


def key(name: str) -> events.Key:
    return events.Key(name, name if len(name) == 1 else TYPED.get(name) if len(TYPED.get(name, "")) == 1 else None)


async def sitting(seed: int, bursts: int = 25, *, stale: bool = True) -> None:
    """One cockpit and its monkey. Raises Wrong.

    `stale` also compares with what is drawn anew at each quiet moment, which may lie on a machine that is very busy.
    """
    dice = random.Random(seed)
    engine = Engine(dice)
    app = CockpitApp(Path("runs/harbour-1"), lambda: engine, clock=lambda: CLOCK)
    app.driver_class = Emulated
    done: list[str] = []
    found: list[BaseException] = []

    async def act(pilot: object) -> None:
        try:
            await until(lambda: app.view.connection == "live" and app.state.status != "starting")
            for _ in range(bursts):
                if app.return_code is not None:
                    return
                done.extend(await burst(app, dice))
                await quiet(app, engine, stale)
        except BaseException as error:
            found.append(error)
        finally:
            app.exit(0)

    await app.run_async(size=dice.choice(SIZES), auto_pilot=act)
    if app.return_code or (found and app.return_code is None):
        found.append(Wrong(f"ended with {app.return_code}"))
    for error in found:
        raise Wrong(f"seed {seed}, after {' '.join(done)}:\n{error}") from error


async def burst(app: CockpitApp, dice: random.Random) -> list[str]:
    """Keys, clicks and sizes one after the other, most of them before the first has been obeyed."""
    names = LINE if dice.random() < 0.1 else dice.choices(list(KEYS), list(KEYS.values()), k=dice.randint(1, 9))
    if dice.random() < 0.3:  # held down
        names = [*names, *[names[-1]] * dice.randint(1, 3)]
    done = []
    for name in names:
        if name == "d" and dice.random() < 0.7:
            continue
        done.append(name)
        app.post_message(key(name))
        chance = dice.random()
        driver = app._driver
        assert isinstance(driver, Emulated)
        if chance < 0.08:
            size = dice.choice(SIZES)
            driver.resize(*size)
            done.append("{}x{}".format(*size))
        elif chance < 0.16:
            x, y = dice.randrange(driver.shows.columns), dice.randrange(driver.shows.lines)
            done.append(f"@{x},{y}")
            for kind in (events.MouseDown, events.MouseUp):
                app.post_message(kind(None, x, y, 0, 0, 1, False, False, False, screen_x=x, screen_y=y))
        elif chance < 0.5:
            await asyncio.sleep(dice.random() * 0.05)
    return done


async def quiet(app: CockpitApp, engine: Engine, stale: bool) -> None:
    """Compare what the terminal shows with what it should. Raises Wrong if that differs or is blank."""
    engine.quiet, settled = True, cockpit_app.SETTLED
    driver = app._driver
    assert isinstance(driver, Emulated)
    try:
        cockpit_app.SETTLED = 0.0
        await painted(app)
        app.clear_notifications()
        app.redraw_plots()
        await painted(app)
        before = rows(driver.shows)
        if app.return_code is not None:
            return
        differ(before, rows(driver.whole))
        app.action_repaint()
        await painted(app)
        after = rows(driver.shows)
        if app.return_code is not None:
            return
        if app.screen_stack[0] is not app.cockpit:
            raise Wrong(f"the cockpit is gone: {app.screen_stack}")
        if sum(map(bool, after)) < 3:
            raise Wrong(f"blank, with {app.screen_stack}")
        if stale:
            differ(before, after)
    finally:
        engine.quiet, cockpit_app.SETTLED = False, settled


def differ(shown: list[str], wanted: list[str]) -> None:
    """Raise Wrong with the rows that differ, if any do."""
    if shown != wanted:
        raise Wrong("\n".join(f"{was}\n{now}" for was, now in zip(shown, wanted, strict=True) if was != now))


async def painted(app: CockpitApp) -> None:
    """Wait until all that was posted has been handled and drawn, several times over: each may post more."""
    deadline = time.monotonic() + PATIENCE
    drawn = 0
    while drawn < 5 and app.return_code is None:
        if time.monotonic() > deadline:
            raise Wrong(f"nothing more is obeyed, with {app.screen_stack}")
        done = asyncio.Event()
        app.call_later(app.call_after_refresh, done.set)
        with contextlib.suppress(TimeoutError):  # a screen that closes forgets what was to be called
            await asyncio.wait_for(done.wait(), 1.0)
            drawn += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    words = parser.parse_args()
    wrong = 0
    for seed in range(words.first, words.first + words.seeds):
        began = time.monotonic()
        try:
            asyncio.run(sitting(seed))
        except Wrong as error:
            wrong += 1
            sys.stdout.write(f"{error}\n")
        sys.stdout.write(f"seed {seed}: {time.monotonic() - began:.1f} s\n")
        sys.stdout.flush()
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
