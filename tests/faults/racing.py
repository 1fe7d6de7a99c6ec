"""Races that are cancelled, and whose host is killed: the run goes on bit for bit as if there had been none."""

import contextlib
import random
import signal
import uuid
from pathlib import Path

import psutil

from tests.faults.campaign import PATIENCE, Process, Row, step_beyond, wait_for
from tuitrain.host.client import SocketSession
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory

STEADY = ["--lr=0.003", "--lr-schedule=constant", "--warmup=0", "--optimizer=adam", "--weight-decay=0", "--clip=1",
          "--dropout=0.1", "--on-divergence=warn"]
"""What trains the same whether its end is known or not."""
CHILD = "tuitrain.futures.child"


def races(times: int, folder: Path, rng: random.Random) -> Row:
    """Every other race is cancelled, and the host of the others is killed with -9; each at a random moment."""
    row = Row("races", "cancelled, or the host killed with -9, at a random moment; compared with a run without any")
    process = Process.fresh(folder / "run", *STEADY)
    run, last = process.run, 0
    with contextlib.closing(process.session()) as session:  # something to go on from after a kill
        saved = _answer(session, c.SaveCheckpoint(id=uuid.uuid4().hex[:12], by="campaign"))
        row.expect(isinstance(saved, e.CheckpointSaved), f"not saved: {saved}")
    for i in range(times):
        with contextlib.closing(process.session()) as session:
            at = session.state.step
            wait_for(lambda: step_beyond(session, at), "a step")  # noqa: B023 - called before the next round
            _race(session, rng.random() < 0.5, rng.choice((0, 0, 1)))
            arms = [child for child in psutil.Process(process.process.pid).children(recursive=True)
                    if CHILD in child.cmdline()]
            last = max(last, session.state.step)
            if i % 2 == 0:
                ended = _answer(session, c.CancelRace(id=uuid.uuid4().hex[:12], by="campaign"))
                row.expect(isinstance(ended, e.RaceEnded) and ended.reason == "cancelled", f"not cancelled: {ended}")
            else:
                process.end(signal.SIGKILL)
        _, left = psutil.wait_procs(arms, timeout=PATIENCE)
        row.expect(not left, f"{len(left)} arms outlived their race")
        row.times += 1
        if i % 2:
            process = Process.resumed(run.path)
    with contextlib.closing(process.session()) as session:
        wait_for(lambda: step_beyond(session, last + 20), "steps after the last race")
    row.expect(process.end() == 143, "the run does not end well")
    _compare(row, run, folder)
    return row


def _race(session: SocketSession, told: bool, more: int) -> None:
    """Begin a race that would go on for ever; wait for its begin, or until an arm has told so much."""
    began = _answer(session, c.StartRace(id=uuid.uuid4().hex[:12], by="campaign", arms=("lr=x0.5",), steps=10**6))
    assert isinstance(began, e.RaceStarted), began
    wanted, deadline = (1 + more if told else 0), [0]

    def trained() -> bool:
        deadline[0] += sum(isinstance(event, e.ArmAdvanced) for event in session.drain(0.05))
        return deadline[0] >= wanted

    wait_for(trained, "an arm that trains")


def _answer(session: SocketSession, command: c.Command) -> e.Event:
    session.send(command)
    found: list[e.Event] = []

    def answered() -> bool:
        found.extend(event for event in session.drain(0.05) if e.id_of(event) == command.id)
        return bool(found)

    wait_for(answered, f"an answer to {type(command).__name__}")
    return found[0]


def _compare(row: Row, run: RunDirectory, folder: Path) -> None:
    """Hold every loss that was told, on whatever branch, against those of a run that had no race."""
    told = [(event.first_step + i, loss) for event, _ in journal.read(run.journal) if isinstance(event, e.StepsDone)
            for i, loss in enumerate(event.loss)]
    last = max(step for step, _ in told)
    alone = Process.fresh(folder / "alone", *STEADY, f"--steps={last}")
    assert alone.process.wait(10 * PATIENCE) == 0, alone.tail()
    there = {event.first_step + i: loss for event, _ in journal.read(alone.run.journal)
             if isinstance(event, e.StepsDone) for i, loss in enumerate(event.loss)}
    other = [step for step, loss in told if there[step] != loss]
    row.expect(not other, f"{len(other)} of {len(told)} losses are not those of a run without races, first {other[:1]}")
    row.remark = f"{len(told):,} losses up to step {last:,} compared"
