"""Race: from a checkpoint the run is trained on with other knobs, an arm each, on the same batches; and compared.

Without arms: as it is; the advised clip and the ends of its range; lr x0.5, x0.25, x0.1; that clip with lr x0.25.
The run stays as it is. ctrl+c cuts the arm that trains, twice cancels the race. `--choose` goes on with an arm.

example: tuitrain futures runs/copperfield-1 --from 3000 --lr x2,x0.25 --arm "lr=x0.25 clip=1"
"""

import argparse
import contextlib
import json
import math
import queue
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from tuitrain.cli import streams
from tuitrain.cli.options import character_run, run_folder
from tuitrain.errors import FINISHED, INTERRUPTED, RunError, UsageError
from tuitrain.run.directory import RunDirectory, is_alive
from tuitrain.telemetry.units import BITS, duration, loss_words, safe, size

if TYPE_CHECKING:
    from tuitrain.futures.race import Plan, Race
    from tuitrain.futures.reading import Reading

AGAIN = 2.0
"""Seconds within which a second ctrl+c means the whole race."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, the point, the arms, their length."""
    parser.usage = "%(prog)s RUN [--from STEP] [--clip A,B] [--lr xF,G] [--arm \"lr=X clip=Y\"] [--steps N]"
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument("--from", dest="at", type=int, metavar="STEP", help="the last checkpoint up to this step")
    parser.add_argument("--clip", default="", metavar="A,B", help="an arm for each of these clips: 1, x0.5, off, auto")
    parser.add_argument("--lr", default="", metavar="A,B", help="an arm for each of these learning rates: x0.25, 0.001")
    parser.add_argument("--arm", action="append", default=[], metavar="KNOBS", help="an arm with both; may be repeated")
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="of each arm (default 600)")
    parser.add_argument("--choose", default="", metavar="ARM", help="go on with an arm: its number, or FOLDER/NUMBER")
    parser.add_argument("--on", default="", metavar="CLUSTER", help="arms as jobs, by submitit: slurm, local")
    parser.add_argument("--corpus", metavar="FILE", help="where the text is now, if the run has no copy of it")
    add_talk(parser)


def add_talk(parser: argparse.ArgumentParser) -> None:
    """What a command that trains for a while asks and prints."""
    parser.add_argument("--yes", action="store_true", help="do not ask before it begins")
    parser.add_argument("--json", action="store_true", help="everything as JSON on standard output")


def run(arguments: argparse.Namespace) -> int:
    """Race, and print the table and what it says."""
    folder = run_folder(arguments.run)
    character_run(folder)
    if arguments.choose:
        return choose(folder, arguments.choose, arguments.corpus)
    if arguments.steps < 0:
        raise UsageError(f"--steps {arguments.steps}: give a number of 1 or more")

    from tuitrain.charlstm import runtime

    runtime.before_torch()
    from tuitrain.diagnosis.arms import asked, lined_up
    from tuitrain.futures import points, proposing, race, telling
    from tuitrain.futures.comparing import compare

    point = points.newest(folder, arguments.at)
    arms = asked(_words(arguments.clip), _words(arguments.lr), arguments.arm) or proposing.proposed(point)
    made = race.plan(point, lined_up(arms, point.knobs), arguments.steps or race.STEPS)
    say_cost(made, folder, arguments.at, arguments.on)
    if not agreed(arguments.yes):
        return FINISHED
    contest: Race | Jobs = Jobs(made, arguments.on, arguments.corpus) if arguments.on else \
        race.Race(made, arguments.corpus)
    readings = carry_out(contest)
    if not readings:
        return INTERRUPTED
    outcome = compare(readings)
    if arguments.json:
        print(json.dumps(telling.to_json(made, outcome, contest.folder)))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10**6
        print("\n".join(telling.table(outcome, width=width)))
        print("\n".join(safe(line) for line in telling.words(outcome)))
        print(safe(f"what each arm did is in {contest.folder}; `--choose NUMBER` goes on with one"))
        if number := asked_for(len(readings)) if not arguments.yes and not contest.cancelled else "":
            return choose(folder, f"{contest.folder.name}/{number}", arguments.corpus)
    return INTERRUPTED if contest.cancelled else FINISHED


def choose(folder: RunDirectory, arm: str, corpus: str | None) -> int:
    """Go on where an arm ended, on a new branch: in the process that trains the run, or else here, without a step.

    Returns the exit code. Raises TuitrainError.
    """
    from tuitrain.charlstm import runtime

    runtime.before_torch()
    from tuitrain.cli import resume
    from tuitrain.cli.send import deliver
    from tuitrain.futures import choosing
    from tuitrain.protocol import askers
    from tuitrain.protocol import commands as c
    from tuitrain.protocol import events as e
    from tuitrain.telemetry.sentences import sentence

    command = c.ChooseArm(id=uuid.uuid4().hex[:12], by=askers.PERSON, arm=choosing.find(folder, arm))
    if is_alive(folder):
        return deliver(folder, command)
    host = resume.host(argparse.Namespace(**{**vars(resume.afresh(json=False)), "corpus": corpus}), {}, folder)
    host.worker.send(command)
    host.worker.send(c.Stop(id="", by=askers.PERSON, reason="arm chosen"))
    host.start()
    answer: e.Event | None = None
    ended: e.RunEnded | None = None
    while ended is None:
        for event in host.feed.drain(0.2):
            answer = event if e.id_of(event) == command.id else answer
            ended = event if isinstance(event, e.RunEnded) else ended
    host.wait()
    if not isinstance(answer, e.RolledBack):
        raise RunError(answer.reason if isinstance(answer, e.CommandRefused) else ended.message or ended.reason)
    print(sentence(answer))
    say(f"`tuitrain resume {folder.path}` goes on from step {ended.step:,}")
    return ended.exit_code


def asked_for(arms: int) -> str:
    """The number of the arm to go on with, asked of a person at a terminal; empty for none."""
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        return ""
    sys.stderr.write(f"go on with an arm? [1 to {arms}, enter: none] ")
    sys.stderr.flush()
    answer = sys.stdin.readline().strip()
    return answer if answer.isdigit() and 1 <= int(answer) <= arms else ""


def _words(text: str) -> list[str]:
    return [part for part in text.split(",") if part.strip()]


class Jobs:
    """A race whose arms are jobs of a cluster; cut, it is left: they go on, and `--choose` finds them."""

    def __init__(self, made: "Plan", on: str, corpus: str | None) -> None:
        from tuitrain.futures import conducting, race
        from tuitrain.futures.cluster import Cluster

        self.plan, self.cancelled = made, False
        place = Cluster(on)
        self.folder = race.made_folder(made)
        self._conductor = conducting.Conductor(made, self.folder, place, corpus)

    def run(self, told: "Callable[[int, Reading], None]") -> "list[Reading]":
        """Follow the jobs to their ends; `told` hears of the news. Returns the readings of those that trained."""
        from tuitrain.protocol.events import ArmAdvanced, RaceEnded

        conductor = self._conductor
        conductor.start()
        ended = False
        while not ended and not (conductor.join(0.0) and conductor.news.empty()):
            with contextlib.suppress(queue.Empty):
                event = conductor.news.get(timeout=0.2)
                if isinstance(event, ArmAdvanced):
                    told(event.arm, conductor.runners[event.arm - 1].reading)
                ended = isinstance(event, RaceEnded)
        return [runner.reading for runner in conductor.runners if runner.reading.done] if ended else []

    def cut(self) -> None:
        """Leave it to the cluster."""
        self._conductor.leave()

    def cancel(self) -> None:
        """End all its jobs."""
        self.cancelled = True
        self._conductor.cancel()


def say_cost(made: "Plan", folder: RunDirectory, asked: int | None = None, on: str = "") -> None:
    """Say what a race would do, how long that takes and what it writes; `asked` is the step that was asked for."""
    steps = len(made.arms) * made.steps
    seconds = made.seconds
    took = f", about {duration(seconds)} at the run's own speed" if seconds else ""
    if asked is not None and asked != made.point.step:
        say(f"the last checkpoint up to step {asked:,} is of step {made.point.step:,}: the race begins there")
    say(f"{len(made.arms)} arms of {made.steps:,} steps from step {made.point.step:,}: {steps:,} steps{took}")
    say(f"about {size(made.bytes)} on disk, of which the run's next race leaves {size(made.kept_bytes)}")
    if on:
        say(f"they are jobs of {on}; ctrl+c leaves them to it, twice cancels them")
    elif is_alive(folder):
        say("the run trains on meanwhile and is not touched; the arms train in this process, and both go slower")
    if not made.point.healthy:
        say("training had broken already at this point; an earlier one is named with --from STEP")


def agreed(yes: bool) -> bool:
    """Whether to begin: asked of a person at a terminal, granted elsewhere."""
    if yes or not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    sys.stderr.write("begin? [Y/n] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    return bool(answer) and answer.strip().lower() in ("", "y", "yes")


def carry_out(contest: "Race | Jobs") -> "list[Reading]":
    """Run a race with progress on standard error; signals cut and cancel it."""
    shown = [0, 0.0]
    terminal = sys.stderr.isatty()

    def told(arm: int, reading: "Reading") -> None:
        now = time.monotonic()
        if reading.state:
            ended = f"{reading.state} after {reading.done:,} steps"
            loss = "" if math.isnan(reading.validation) else f", validation {loss_words(reading.validation, BITS)}"
            say(f"{_begin(terminal)}arm {arm} of {len(contest.plan.arms)}, {reading.arm.name}: {ended}{loss}")
        elif terminal and now - shown[1] >= 0.2:
            shown[1] = now
            share = reading.done / reading.steps
            bar = "█" * round(20 * share) + "░" * (20 - round(20 * share))
            loss = f"loss {loss_words(_mean(reading.losses), BITS)}" if reading.losses else "opening"
            line = (f"arm {arm} of {len(contest.plan.arms)}  {bar}  {reading.done:,} of {reading.steps:,}  {loss}  "
                    f"{reading.arm.name}")
            print(_begin(True) + safe(line)[: shutil.get_terminal_size().columns - 1], end="", flush=True,
                  file=streams.steering(sys.stderr))

    with _signals(contest):
        return contest.run(told)


def _mean(losses: "list[float]") -> float:
    last = losses[-50:]
    return sum(last) / len(last)


def _begin(terminal: bool) -> str:
    return "\r\x1b[K" if terminal else ""


@contextlib.contextmanager
def _signals(contest: "Race | Jobs", clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """ctrl+c cuts an arm, twice cancels the race; whoever else wants the process gone cancels it."""
    pressed = [-math.inf]

    def interrupted(number: int, frame: FrameType | None) -> None:
        now = clock()
        if now - pressed[0] < AGAIN:
            contest.cancel()
        else:
            pressed[0] = now
            contest.cut()

    def ended(number: int, frame: FrameType | None) -> None:
        contest.cancel()

    handlers = {signal.SIGINT: interrupted, signal.SIGTERM: ended, signal.SIGHUP: ended}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()
              if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(words: str) -> None:
    """Print a line for a person on standard error."""
    begin = _begin(True) if words.startswith(_begin(True)) else ""
    print(begin + safe(words.removeprefix(begin)), file=streams.steering(sys.stderr), flush=True)
