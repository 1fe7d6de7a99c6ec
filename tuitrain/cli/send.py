"""Send one command to a live run, wait for its confirmation or refusal, print it.

commands: lr V|xF · clip V|xF|off|auto · temperature V[,V] · prompt TEXT · steps N · pause · continue · sample ·
evaluate · checkpoint · snapshot · rollback [STEP|best] [lr=V|xF] [clip=V|xF|off|auto] [skip=N] ·
undo [weights] · land [STEPS] · guard warn|pause|rollback|stop · dismiss · probe · pin STEP · blackbox STEP ·
note TEXT · stop

example: tuitrain send runs/copperfield-1 rollback 2900 lr=x0.25 clip=1
"""

import argparse
import dataclasses
import math
import os
import sys
import time
import uuid
from typing import TYPE_CHECKING

from tuitrain.cli.options import run_folder
from tuitrain.errors import ERROR, RunError, UsageError, nearest
from tuitrain.knobs import KNOBS, Wish, whole, wish
from tuitrain.protocol import commands as c
from tuitrain.run.directory import RunDirectory

if TYPE_CHECKING:
    from tuitrain.telemetry.run_state import RunState

NAMES = ("lr", "clip", "temperature", "prompt", "steps", "pause", "continue", "sample", "evaluate", "probe", "pin",
         "blackbox", "checkpoint", "snapshot", "rollback", "undo", "land", "guard", "dismiss", "note",
         "stop")
PROGRESS_EVERY = 2.0
"""Seconds between progress lines while a long command is carried out."""
BEST = "best"
"""Name of the best validation loss as a place to roll back to, and reason of the checkpoints taken there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run and the words of the command."""
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument("words", metavar="COMMAND", nargs=argparse.REMAINDER, help="a command and its values")
    parser.add_argument("--by", default=os.environ.get("TUITRAIN_BY", "script"), help="sender, for the journal")


def run(arguments: argparse.Namespace) -> int:
    """Send the command, wait and print the answer; returns 0 if confirmed, 1 if refused.

    Raises RunError, UsageError.
    """
    words, by = _split_sender(arguments.words, arguments.by)
    return deliver(run_folder(arguments.run), parse(words, uuid.uuid4().hex[:12], by))


def deliver(folder: RunDirectory, command: c.Command) -> int:
    """Send a command to a live run, wait and print the answer; returns 0 if confirmed, 1 if refused.

    Raises RunError.
    """
    from tuitrain.host.client import SocketSession
    from tuitrain.protocol import events as e
    from tuitrain.telemetry.sentences import on_the_way, sentence
    from tuitrain.telemetry.units import safe

    reported = -math.inf
    session = SocketSession(folder, watch=False, by=command.by)
    try:
        if isinstance(command, c.Rollback) and command.point == BEST:
            command = dataclasses.replace(command, point=_best(session.state))
        session.send(command)
        while True:
            for event in session.drain(1.0):
                if isinstance(event, e.WorkAdvanced) and event.answers == command.id:
                    if time.monotonic() >= reported + PROGRESS_EVERY:
                        reported = time.monotonic()
                        print(f"tuitrain: {on_the_way(event.what, event.done, event.of)}", file=sys.stderr, flush=True)
                    continue
                if isinstance(event, e.RunEnded) and isinstance(command, c.Stop):
                    # Also if it ended by itself a moment before the command arrived.
                    print(_at(event.step) + sentence(event))
                    return ERROR if event.exit_code == ERROR else 0
                if isinstance(event, e.SavingFailed) and isinstance(command, c.SaveCheckpoint):
                    print(f"saving fails: {safe(event.reason)}")
                    return ERROR
                if e.id_of(event) == command.id:
                    if isinstance(event, e.CommandRefused):
                        print(f"refused: {safe(event.reason)}")
                        return ERROR
                    print(_at(e.step_of(event, 0)) + sentence(event, session.state.unit))
                    return 0
                if isinstance(event, e.RunEnded):
                    raise RunError(f"the run ended ({event.reason}) before it answered")
            if session.state.status == "ended":  # resynchronised: this end was too slow for events
                if isinstance(command, c.Stop):
                    print(f"step {session.state.step:,}: {safe(session.state.ended)}")
                    return 0
                raise RunError(f"the run ended ({safe(session.state.ended)}) before it answered")
            if session.closed:
                raise RunError("the run's process went away before it answered")
    finally:
        session.close()


def _split_sender(words: list[str], by: str) -> tuple[list[str], str]:
    """Return the command without a `--by NAME` at its end, and the name of the sender."""
    if len(words) > 2 and words[-2] == "--by":
        return words[:-2], words[-1]
    if len(words) > 1 and words[-1].startswith("--by="):
        return words[:-1], words[-1].removeprefix("--by=")
    return words, by


def _best(state: "RunState") -> str:
    """Return the name of the newest restore point of the best validation loss. Raises UsageError."""
    points = [point for point in state.story.points.values() if point.reason == BEST]
    if not points:
        raise UsageError("there is no restore point of a best validation loss yet; send `evaluate` to measure it")
    return max(points, key=lambda point: point.time).name


def _at(step: int) -> str:
    return f"step {step:,}: "


def parse(words: list[str], id: str, by: str) -> c.Command:
    """Return the command that these words stand for. Raises UsageError."""
    if not words:
        raise UsageError(f"give a command: {', '.join(NAMES)}")
    name, rest = words[0], words[1:]
    who = {"id": id, "by": by}
    bare = {"pause": c.Pause, "continue": c.Continue, "sample": c.DrawSample, "evaluate": c.Evaluate,
            "checkpoint": c.SaveCheckpoint, "snapshot": c.TakeSnapshot, "stop": c.Stop,
            "probe": c.LookInside, "dismiss": c.Dismiss}
    if name in bare:
        if rest:
            raise UsageError(f"{name} takes no value")
        return bare[name](**who)
    match name, rest:
        case _, [value] if name in KNOBS and KNOBS[name].command == c.SetKnob.__name__:
            asked = wish(name, value)
            if asked.factor is not None:
                return c.ScaleKnob(name=name, factor=asked.factor, **who)
            return c.SetKnob(name=name, value=asked.value, **who)
        case "prompt", [_, *_]:
            return c.SetPrompt(text=" ".join(rest), **who)
        case "note", [_, *_]:
            return c.AddNote(text=" ".join(rest), **who)
        case "pin", [value]:
            return c.PinSnapshot(to=whole(name, value), **who)
        case "blackbox", [value]:
            return c.KeepBlackBox(onset=whole(name, value), **who)
        case "guard", [mode]:
            return c.SetGuardMode(mode=mode, **who)
        case "undo", [] | ["weights"]:
            return c.Undo(weights=bool(rest), **who)
        case "land", []:
            return c.Land(id=id, by=by)
        case "land", [value]:
            return c.Land(steps=whole(name, value), id=id, by=by)
        case "rollback", _:
            return _rollback(rest, id, by)
    if name not in NAMES:
        near = nearest(name, NAMES)
        raise UsageError(f"no such command: {name!r}" + (f"; did you mean {near}?" if near else ""))
    raise UsageError(f"{name}: {'give a value' if not rest else 'too many values'}; see `tuitrain send --help`")


def _rollback(rest: list[str], id: str, by: str) -> c.Rollback:
    to: int | None = None
    lr: Wish | None = None
    clip: Wish | None = None
    skip, point = 0, ""
    for word in rest:
        key, _, value = word.partition("=")
        if key == "lr" and value:
            lr = wish("lr", value)
        elif key == "clip" and value:
            clip = wish("clip", value)
        elif key == "skip" and value:
            skip = whole("skip", value)
        elif key == BEST and not value and to is None:
            point = BEST
        elif not value and to is None and not point:
            to = whole("rollback", key)
        else:
            raise UsageError(f"rollback: {word!r} is not understood; write [STEP|best] [lr=V|xF] "
                             "[clip=V|xF|off|auto] [skip=N]")
    return c.Rollback(to=to, point=point, skip_batches=skip, id=id, by=by, **c.going_on(lr, clip))
