"""Real processes over gloo: the numbers of one process, live commands, deaths, restarts, another number of them."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ranks import poisoned
from tuitrain.host.client import SocketSession
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory

pytestmark = pytest.mark.slow

SMALL = ["--layers=1", "--hidden=16", "--embedding=8", "--batch-size=8", "--bptt=10", "--device=cpu", "--seed=3",
         "--precision=fp32", "--threads=1", "--evaluate-every=1000", "--sample-every=1000", "--snapshot-every=20",
         "--checkpoint-every=50", "--on-divergence=warn", "--clip=1", "--warmup=0"]
LIMIT = 240.0
PATH = str(Path(__file__).resolve().parents[2])


class Ranks:
    """Processes as a scheduler starts them, each told its rank by its environment."""

    def __init__(self, folder: Path, count: int, *words: str, timeout: int = 60,
                 program: tuple[str, ...] = ("-m", "tuitrain")) -> None:
        self.run = RunDirectory(folder / "run")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.processes = []
        for rank in range(count):
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank),
                     "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "TUITRAIN_RANK_TIMEOUT": str(timeout),
                     "PYTHONPATH": PATH}
            with (folder / f"rank{rank}.out").open("w") as out:
                self.processes.append(subprocess.Popen([sys.executable, *program, *words], cwd=folder, stdout=out,
                                                       stderr=out, env={**os.environ, **(place if count > 1 else {})}))
        self._folder = folder

    def ends(self) -> list[int]:
        """Wait for all; returns their exit codes."""
        deadline = time.monotonic() + LIMIT
        codes = [process.wait(max(1.0, deadline - time.monotonic())) for process in self.processes]
        return codes

    def output(self, rank: int) -> str:
        return (self._folder / f"rank{rank}.out").read_text()

    def says(self, rank: int, words: str) -> None:
        """Wait until a process has said this."""
        deadline = time.monotonic() + LIMIT
        while words not in self.output(rank):
            assert time.monotonic() < deadline, self.output(rank)
            time.sleep(0.05)

    def at(self, step: int) -> None:
        """Wait until the journal has a step."""
        deadline = time.monotonic() + LIMIT
        while last_step(self.run) < step:
            assert time.monotonic() < deadline, self.output(0)
            time.sleep(0.05)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def events(run: RunDirectory, *kinds: type[e.Event]) -> list[e.Event]:
    return [event for event, _ in journal.read(run.journal, kinds=kinds)] if run.journal.exists() else []


def last_step(run: RunDirectory) -> int:
    return max((x.first_step + len(x.loss) - 1 for x in events(run, e.StepsDone) if isinstance(x, e.StepsDone)),
               default=0)


def losses(run: RunDirectory) -> dict[tuple[int, int], float]:
    return {(x.branch, x.first_step + i): loss for x in events(run, e.StepsDone) if isinstance(x, e.StepsDone)
            for i, loss in enumerate(x.loss)}


def asked(ranks: Ranks, commands: list[c.Command]) -> dict[str, e.Event]:
    """Send commands to the run, one after the other; returns the answer to each by its id."""
    session = SocketSession(ranks.run, watch=True, by="test")
    answers: dict[str, e.Event] = {}
    for command in commands:
        session.send(command)
        deadline = time.monotonic() + LIMIT
        while command.id not in answers:
            assert time.monotonic() < deadline, ranks.output(0)
            answers.update({getattr(x, "id", ""): x for x, _ in session.drain_timed(0.2)})
    session.close()
    return {command.id: answers[command.id] for command in commands}


@pytest.fixture
def book(tmp_path: Path) -> Path:
    words = ("harbour", "night", "the boat", "a lantern", "rain", "old nets", "gulls", "nobody")
    (tmp_path / "book.txt").write_text(" ".join(words[(i * i + 3 * i) % 8] for i in range(4000)))
    return tmp_path


def started(folder: Path, count: int, *words: str, **rest: object) -> Ranks:
    return Ranks(folder, count, "book.txt", "--no-ui", "--run=run", *SMALL, *words, **rest)  # type: ignore[arg-type]


def test_two_processes_get_the_losses_of_one_and_other_numbers_go_on(tmp_path: Path, book: Path) -> None:
    found = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "book.txt").write_bytes((book / "book.txt").read_bytes())
        ranks = started(folder, count, "--steps=100")
        assert ranks.ends() == [0] * count, ranks.output(0)
        found.append(losses(ranks.run))
    assert len(found[0]) == 100 and found[1].keys() == found[0].keys()
    assert max(abs(found[1][at] - loss) for at, loss in found[0].items()) < 1e-5
    for count, last in ((4, 130), (1, 160)):
        ranks = Ranks(tmp_path / "2", count, "resume", "run", "--no-ui", f"--steps={last}")
        assert ranks.ends() == [0] * count, ranks.output(0)
        assert last_step(ranks.run) == last
    resumed = [x for x in events(ranks.run, e.RunResumed) if isinstance(x, e.RunResumed)]
    assert [x.processes for x in resumed] == [4, 1] and "processes were 2, are 4" in resumed[0].why_not
    for last in (130, 160):  # the rate depends on the last step
        whole = Ranks(tmp_path / "1", 1, "resume", "run", "--no-ui", f"--steps={last}")
        assert whole.ends() == [0]
    apart = [abs(losses(ranks.run)[at] - loss) for at, loss in losses(whole.run).items()]
    assert len(apart) == 160 and max(apart) < 1e-4


def test_commands_reach_all_processes_and_a_pause_outlasts_the_timeout(book: Path) -> None:
    ranks = started(book, 2, "--steps=0", timeout=20)
    try:
        ranks.at(60)
        answers = asked(ranks, [
            c.SetKnob(id="a", by="test", name="clip", value=0.5),
            c.ScaleKnob(id="b", by="test", name="lr", factor=0.5),
            c.TakeSnapshot(id="c", by="test"), c.Rollback(id="d", by="test", to=40),
            c.Undo(id="e", by="test"), c.Pause(id="f", by="test")])
        assert not any(isinstance(answer, e.CommandRefused) for answer in answers.values()), answers
        paused = last_step(ranks.run)
        until = time.monotonic() + 25  # the group would have been ended after 20
        while time.monotonic() < until:
            assert all(process.poll() is None for process in ranks.processes), ranks.output(0) + ranks.output(1)
            time.sleep(0.2)
        asked(ranks, [c.Continue(id="g", by="test")])
        ranks.at(paused + 50)
        asked(ranks, [c.Stop(id="h", by="test")])
        assert ranks.ends() == [0, 0], ranks.output(0)
    finally:
        ranks.kill()


def test_a_number_that_is_none_on_one_rank_is_skipped_by_all(book: Path) -> None:
    ranks = started(book, 2, "--steps=80", program=(str(Path(poisoned.__file__)),))
    assert ranks.ends() == [0, 0], ranks.output(0)
    found = losses(ranks.run)
    assert len(found) == 80 and [step for (_, step), loss in found.items() if math.isnan(loss)] == [poisoned.POISONED]
    assert events(ranks.run, e.StepSkipped), "and it is reported"


def test_a_death_ends_all_and_the_run_goes_on_from_its_checkpoint(book: Path) -> None:
    victim = 1  # of rank 0: the test of torchrun
    ranks = started(book, 2, "--steps=0", timeout=30)
    try:
        ranks.at(120)
        ranks.processes[victim].send_signal(signal.SIGKILL)
        codes = ranks.ends()
        assert codes[victim] == -signal.SIGKILL and codes[1 - victim] == 1, ranks.output(1 - victim)
        assert "is gone or does not answer" in ranks.output(1 - victim)
        assert "Traceback" not in ranks.output(1 - victim)
    finally:
        ranks.kill()
    before = last_step(ranks.run)
    again = Ranks(book, 2, "resume", "run", "--no-ui", f"--steps={before + 20}")
    assert again.ends() == [0, 0], again.output(0)
    [resumed] = [x for x in events(again.run, e.RunResumed) if isinstance(x, e.RunResumed)]
    assert resumed.exact and before - resumed.step <= 60 and last_step(again.run) == before + 20


def test_torchrun_starts_all_again_and_the_run_goes_on_by_itself(book: Path) -> None:
    out = (book / "out").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1",
         "--monitor-interval=0.2", "-m", "tuitrain", "--", "book.txt", "--no-ui", "--run=run", *SMALL, "--steps=0"],
        cwd=book, env={**os.environ, "PYTHONPATH": PATH}, stdout=out, stderr=subprocess.STDOUT)
    out.close()
    run = RunDirectory(book / "run")
    try:
        def wait(step: int) -> None:
            deadline = time.monotonic() + LIMIT
            while last_step(run) < step or not events(run, e.CheckpointSaved):
                assert time.monotonic() < deadline and process.poll() is None, (book / "out").read_text()
                time.sleep(0.05)

        wait(60)
        os.kill(int((run.path / "lock").read_text().split()[1]), signal.SIGKILL)  # rank 0
        deadline = time.monotonic() + LIMIT
        while not events(run, e.RunResumed):
            assert time.monotonic() < deadline and process.poll() is None, (book / "out").read_text()
            time.sleep(0.05)
        wait(last_step(run) + 40)
        with_code = subprocess.run([sys.executable, "-m", "tuitrain", "send", "run", "stop"], cwd=book, check=False)
        assert with_code.returncode == 0 and process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()
    ended = [x for x in events(run, e.RunEnded) if isinstance(x, e.RunEnded)]
    assert len(ended) == 1 and ended[0].exit_code == 0


def test_what_cannot_be_shared_is_refused_in_one_line(book: Path) -> None:
    ranks = started(book, 3, "--steps=10")
    codes = ranks.ends()
    assert codes[0] == 2 and "--batch-size 8 cannot be shared evenly by 3 processes" in ranks.output(0)
    assert not (book / "run" / "config.json").exists()
