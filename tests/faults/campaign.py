"""Faults made for real, on real processes: killed, cut off, starved of disk, damaged, shouted at. Counts what was lost.

Each function makes one fault so often; table.py names them.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

import psutil

from tuitrain.errors import RunError, TuitrainError
from tuitrain.host.client import SocketSession
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run import checkpoints, journal
from tuitrain.run.directory import RunDirectory

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--layers=1", "--hidden=16", "--batch-size=4", "--bptt=16", "--threads=1", "--precision=fp32", "--device=cpu",
         "--checkpoint-every=300", "--evaluate-every=500", "--sample-every=900", "--sample-length=40", "--seed=7"]
T = TypeVar("T")
PATIENCE = 180.0
"""Seconds that a condition may take on a loaded machine."""


@dataclass
class Row:
    """One fault of the table: how it was made, how often, the seconds of training lost each time, what went wrong."""

    fault: str
    how: str
    times: int = 0
    lost: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    remark: str = ""

    def expect(self, true: bool, problem: str) -> None:
        """Note a problem unless `true`."""
        if not true:
            self.wrong.append(problem)

    def cells(self) -> tuple[str, ...]:
        lost = sorted(self.lost)
        seconds = f"{lost[len(lost) // 2]:.2f} / {lost[-1]:.2f}" if lost else "-"
        held = f"held{self.remark and '; '}{self.remark}"
        result = f"{len(self.wrong)} WRONG: {self.wrong[0]}" if self.wrong else held
        return self.fault, self.how, str(self.times), seconds, result


class Process:
    """A tuitrain process that trains, its output in a file beside the run."""

    started: ClassVar[list["Process"]] = []

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        self.run = RunDirectory(folder)
        self.output = folder.parent / f"{folder.name}.out"
        with open(self.output, "ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tuitrain", *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                cwd=folder.parent, start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment})
        self.started.append(self)

    @classmethod
    def fresh(cls, folder: Path, *more: str, **environment: str) -> "Process":
        folder.parent.mkdir(parents=True, exist_ok=True)
        text = folder.parent / "text.txt"
        if not text.exists():
            text.write_text(words(6000))
        return cls(folder, str(text), "--no-ui", f"--run={folder}", *SMALL, *more, **environment)

    @classmethod
    def resumed(cls, folder: Path, *more: str, **environment: str) -> "Process":
        return cls(folder, "resume", str(folder), "--no-ui", *more, **environment)

    def session(self) -> SocketSession:
        """A connection, waited for."""
        def connected() -> SocketSession | None:
            if self.process.poll() is not None:
                raise AssertionError(f"the process ended with {self.process.returncode}: {self.tail()}")
            with contextlib.suppress(RunError):
                return SocketSession(self.run, watch=False, by="campaign")
            return None
        return wait_for(connected, "a socket that answers")

    def tail(self) -> str:
        return " | ".join(self.output.read_text(errors="replace").strip().splitlines()[-2:])

    def end(self, number: int = signal.SIGTERM) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def words(count: int, seed: int = 3) -> str:
    """A text with a little order in it."""
    rng = random.Random(seed)
    known = ["rope", "anchor", "and", "a", "lamp", "under", "seven", "grey", "gulls", "waits"]
    return " ".join(rng.choice(known) + rng.choice(["", "", ",", ".\n"]) for _ in range(count))


def wait_for(found: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """What `found` returns once that is not None or False. Raises AssertionError when patience ends."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {patience:.0f} s in vain for {what}")


def step_beyond(session: SocketSession, step: int) -> bool:
    """Whether the run is past a step now."""
    for event in session.drain(0.05):
        session.state.fold(event)
    return session.state.step > step


def tuitrain(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tuitrain", *words], capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=PATIENCE)


class Ledger:
    """What was on disk, so that later it can be held against what is."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.committed: dict[str, str] = {}

    def check(self, row: Row) -> None:
        """Every committed checkpoint is there and unchanged unless retention announced that it went; the journal is
        whole and tells no step twice."""
        trouble = journal.Trouble()
        pruned: set[str] = set()
        told: set[tuple[int, int]] = set()
        for event, _ in journal.read(self.run.journal, trouble):
            if isinstance(event, e.CheckpointPruned):
                pruned.add(Path(event.path).stem)
            if isinstance(event, e.StepsDone):
                steps = {(event.branch, event.first_step + i) for i in range(len(event.loss))}
                row.expect(not steps & told, f"step {event.first_step} of branch {event.branch} is told twice")
                told |= steps
        row.expect(not trouble.damaged, f"{trouble.damaged} damaged lines")
        marks = checkpoints.list_all(self.run.checkpoints)
        for mark in marks:
            try:
                checkpoints.load(self.run.checkpoints, mark)
            except TuitrainError as error:
                row.wrong.append(f"a committed checkpoint does not load: {error}")
            row.expect(self.committed.setdefault(mark.name, mark.sha256) == mark.sha256, f"{mark.name} was overwritten")
        # Retention removes first and tells then, so a kill between the two leaves a removal untold: the newest stay.
        newest = sorted(self.committed)[-1:]
        there = {mark.name for mark in marks}
        gone = [name for name in newest if name not in there and name not in pruned]
        row.expect(not gone, f"{gone} is gone")

    def lost(self, at: float) -> float:
        """Seconds of training between the newest commit and Unix time `at`."""
        marks = self.run.checkpoints.glob("*.json")
        newest = max((path.stat().st_mtime for path in marks), default=None)
        began = next((when for _, when in journal.read(self.run.journal)), at)
        return max(0.0, at - (newest if newest is not None else began))


def kills(times: int, folder: Path, rng: random.Random) -> Row:
    """kill -9 at random moments: while it starts, trains, saves, rolls back and resumes."""
    row = Row("kill -9", "at a random moment of start, training, save, rollback, resume")
    run = RunDirectory(folder / "run")
    ledger, started = Ledger(run), False
    for _ in range(times):
        if started:
            process = Process.resumed(run.path)
        else:
            if run.path.exists():
                shutil.rmtree(run.path)
            process = Process.fresh(run.path)
        if rng.random() < 0.6:
            process.session().close()
            _pester(process, rng, time.monotonic() + rng.uniform(0.0, 2.5))
        else:  # in its first seconds
            _pester(process, rng, time.monotonic() + rng.uniform(0.05, 4.0))
        row.expect(process.process.poll() is None, f"ended by itself: {process.tail()}")
        now = time.time()
        process.end(signal.SIGKILL)
        row.times += 1
        ledger.check(row)
        if checkpoints.list_all(run.checkpoints):
            started = True
            row.lost.append(ledger.lost(now))
        row.expect(tuitrain("runs", str(folder)).stdout.count("unreadable") == 0 or not started, "unreadable in `runs`")
    process = Process.resumed(run.path) if started else Process.fresh(run.path)
    with contextlib.closing(process.session()) as session:
        at = session.state.step
        wait_for(lambda: step_beyond(session, at + 50), "steps after the last kill")
    row.expect(process.end() == 143, "the run that was killed so often does not end well")
    ledger.check(row)
    return row


def _pester(process: Process, rng: random.Random, deadline: float) -> None:
    """Ask for saves and rollbacks until the deadline, so that kills land inside them."""
    session: SocketSession | None = None
    number = 0
    while time.monotonic() < deadline and process.process.poll() is None:
        if session is None:
            with contextlib.suppress(RunError, OSError):
                session = SocketSession(process.run, watch=False, by="campaign")
        if session is not None:
            number += 1
            id, by = f"k{number}", "campaign"
            asked = rng.choice([c.SaveCheckpoint(id=id, by=by), c.Rollback(id=id, by=by), c.Undo(id=id, by=by),
                                c.ScaleKnob(id=id, by=by, name="lr", factor=rng.choice([0.5, 2.0]))])
            with contextlib.suppress(RunError):
                session.send(asked)
                session.drain()
        time.sleep(min(0.15, max(0.0, deadline - time.monotonic())))
    if session is not None:
        session.close()


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int = 6) -> Iterator[Path]:
    """A disk of its own. Raises PermissionError where this user may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)],
                          capture_output=True, check=False)
    if made.returncode:
        raise PermissionError(made.stderr.decode().strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def full_disk(times: int, folder: Path, rng: random.Random) -> Row:
    """A disk filled to the last byte under a living run, and emptied again."""
    row = Row("disk full", "a small file system filled and emptied under a training run")
    with small_disk(folder / "disk") as disk:
        process = Process.fresh(disk / "run")
        ballast = disk / "ballast"
        try:
            with contextlib.closing(process.session()) as session:
                for _ in range(times):
                    _fill(ballast)
                    wait_for(lambda: step_beyond(session, session.state.step) and session.state.trouble,
                             "word that saving fails")
                    ballast.unlink()
                    wait_for(lambda: step_beyond(session, session.state.step) and not session.state.trouble,
                             "word that saving works again", 2 * PATIENCE)
                    row.times += 1
            row.expect(process.end() == 143, "the run does not end well")
        except AssertionError as error:
            row.wrong.append(str(error))
        Ledger(process.run).check(row)
        told = [range(event.first_step, event.first_step + len(event.loss))
                for event, _ in journal.read(process.run.journal) if isinstance(event, e.StepsDone)]
        steps = [step for some in told for step in some]
        row.expect(steps == list(range(1, len(steps) + 1)), "steps are missing in the journal")
        row.remark = f"{len(steps):,} steps, none missing in the journal"
    return row


def _fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        size = 1 << 16
        while size:
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError:
                size //= 2


def power_cuts(times: int, folder: Path, rng: random.Random) -> Row:
    """The block device as it is at one moment, seen by a machine that starts again: nothing that was not synced."""
    row = Row("power cut", "an ext4 image copied under a training run, mounted again and resumed")
    folder.mkdir(parents=True, exist_ok=True)
    image, cut, mounted, again = (folder / name for name in ("image", "cut", "mounted", "again"))
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    for command in (["mkfs.ext4", "-q", str(image)],):
        subprocess.run(command, check=True)
    mounted.mkdir(exist_ok=True)
    again.mkdir(exist_ok=True)
    _mount(image, mounted)
    process = Process.fresh(mounted / "run")
    try:
        with contextlib.closing(process.session()) as session:
            wait_for(lambda: (step_beyond(session, 0) and checkpoints.list_all(process.run.checkpoints)) or None,
                     "the first checkpoint")
            for _ in range(times):
                at = session.state.step + rng.randrange(50, 1500)
                wait_for(lambda: step_beyond(session, at), "steps")  # noqa: B023 - called before the next round
                known = {mark.name for mark in checkpoints.list_all(process.run.checkpoints)}
                shutil.copyfile(image, cut)
                row.times += 1
                _mount(cut, again)
                try:
                    _look_after_a_cut(row, RunDirectory(again / "run"), known, session.state.step)
                finally:
                    subprocess.run(["umount", str(again)], check=True)
    except AssertionError as error:
        row.wrong.append(str(error))
    finally:
        process.end(signal.SIGKILL)
        subprocess.run(["umount", "-l", str(mounted)], check=False)
    return row


def _mount(image: Path, folder: Path) -> None:
    made = subprocess.run(["mount", "-o", "loop", str(image), str(folder)], capture_output=True, check=False)
    if made.returncode:
        raise PermissionError(made.stderr.decode().strip())


def _look_after_a_cut(row: Row, run: RunDirectory, known: set[str], step: int) -> None:
    marks = {mark.name: mark for mark in checkpoints.list_all(run.checkpoints)}
    row.expect(bool(marks), "no checkpoint survived")
    row.expect(len(known - marks.keys()) <= 1, f"committed checkpoints are gone: {sorted(known - marks.keys())}")
    last = 0
    for event, _ in journal.read(run.journal):
        if isinstance(event, e.StepsDone):
            last = max(last, event.first_step + len(event.loss) - 1)
    newest = max((mark.step for mark in marks.values()), default=0)
    row.expect(last >= newest, f"the checkpoint of step {newest} is ahead of its journal ({last})")
    resumed = tuitrain("resume", str(run.path), "--no-ui", "--steps", str(max(last, newest) + 20))
    row.expect(resumed.returncode == 0, f"does not resume: {resumed.stderr.strip()[-200:]}")
    Ledger(run).check(row)


def damage(times: int, folder: Path, rng: random.Random) -> Row:
    """Bits flipped, bytes cut, zeroed, put in, files emptied: named or without effect, never a silent wrong load."""
    from tuitrain.charlstm import prepare

    row = Row("damaged file", "a bit, a cut, zeros or foreign bytes in config, marks, tensors, journal, text")
    process = Process.fresh(folder / "run", "--steps=1500", "--keep=0")
    row.expect(process.process.wait(PATIENCE) == 0, f"no run to damage: {process.tail()}")
    good = process.run
    hashes = {mark.name: mark.params_sha256 for mark in checkpoints.list_all(good.checkpoints)}
    config = good.read_config()["config"]
    newest = max(checkpoints.list_all(good.checkpoints), key=checkpoints.written).name
    refused = older = same = 0
    for number in range(times):
        run = RunDirectory(folder / "damaged")
        shutil.rmtree(run.path, ignore_errors=True)
        shutil.copytree(good.path, run.path, ignore=shutil.ignore_patterns("socket", "engine.log"))
        files = [run.config, run.journal, run.corpus, *run.checkpoints.glob(f"{newest}.*"), *run.checkpoints.iterdir()]
        path = rng.choice(files)
        what = _damage(path, rng)
        case = f"case {number}, {what} of {path.name}"
        row.times += 1
        try:
            worker = prepare.resume(run, steps=None, knobs={}, corpus_path=None)
        except TuitrainError:
            refused += 1
            continue
        except Exception as error:
            row.wrong.append(f"{case}: {type(error).__name__}: {error}")
            continue
        machine = worker.trainer.machine
        opening = worker.trainer._opening
        assert isinstance(opening, e.RunResumed)
        worker.trainer.saves.abandon()
        tensors = {f"model.{name}": value.detach().numpy() for name, value in machine.model.state_dict().items()}
        row.expect(checkpoints.params_hash(tensors) == hashes.get(opening.checkpoint),
                   f"{case}: loaded other parameters than those of {opening.checkpoint}")
        row.expect({k: opening.config[k] for k in opening.config} == {k: config[k] for k in opening.config},
                   f"{case}: another configuration was taken silently")
        if opening.checkpoint == newest:
            same += 1
        else:
            older += 1
            row.expect(bool(machine.remarks), f"{case}: an older checkpoint was taken without a word")
    row.remark = f"{refused} refused by name, {older} went on from an older checkpoint and said so, {same} unharmed"
    return row


def _damage(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    kind = rng.choice(["a flipped bit", "a flipped bit", "a cut", "a changed digit", "zeros", "foreign bytes",
                       "nothing left"])
    match kind:
        case "a flipped bit":
            data[at] ^= 1 << rng.randrange(8)
        case "a changed digit":
            digits = [i for i, byte in enumerate(data) if chr(byte).isdigit()] or [at]
            data[rng.choice(digits)] = ord(rng.choice("0123456789"))
        case "a cut":
            del data[at:]
        case "zeros":
            data[at : at + 512] = bytes(len(data[at : at + 512]))
        case "foreign bytes":
            data[at:at] = rng.randbytes(rng.randrange(1, 40))
        case "nothing left":
            data.clear()
    path.write_bytes(data)
    return kind


def signals(times: int, folder: Path, rng: random.Random) -> Row:
    """Each signal that ends a run, at a random moment: a checkpoint of the very last step, the documented exit code."""
    row = Row("signal", "INT, QUIT, TERM, HUP, USR1, USR2, XCPU at a random step; TSTP, CONT and WINCH storms before")
    codes = {signal.SIGINT: 130, signal.SIGQUIT: 131, signal.SIGTERM: 143, signal.SIGHUP: 143,
             signal.SIGUSR1: 75, signal.SIGUSR2: 75, signal.SIGXCPU: 75}
    process = Process.fresh(folder / "run", "--steps=60")
    row.expect(process.process.wait(PATIENCE) == 0, process.tail())
    for number in [number for number in codes for _ in range(times)]:
        process = Process.resumed(folder / "run", "--steps=0")
        with contextlib.closing(process.session()) as session:
            at = session.state.step + rng.randrange(1, 400)
            for storm in (signal.SIGTSTP, signal.SIGCONT, *[signal.SIGWINCH] * 20):
                process.process.send_signal(storm)
            wait_for(lambda: step_beyond(session, at), "steps")  # noqa: B023 - called before the next round
        code = process.end(number)
        row.times += 1
        ended = [event for event, _ in journal.read(process.run.journal) if isinstance(event, e.RunEnded)][-1]
        newest = max(checkpoints.list_all(process.run.checkpoints), key=checkpoints.written)
        row.expect(newest.step == ended.step, f"{number.name}: saved {newest.step}, ended at {ended.step}")
        row.expect(code == codes[number] == ended.exit_code, f"{number.name}: exit code {code}, not {codes[number]}")
        row.lost.append(0.0 if newest.step == ended.step else float("inf"))
    return row


def garbage(times: int, folder: Path, rng: random.Random) -> Row:
    """Messages that are none, and connections by the hundred, while others watch and steer."""
    import socket

    from tuitrain.host.address import address
    from tuitrain.protocol import codec

    row = Row("garbage on the socket", "random bytes, deep JSON, huge numbers, half and huge lines, wrong versions")
    process = Process.fresh(folder / "run")
    with contextlib.closing(process.session()) as session:
        memory = psutil.Process(process.process.pid).memory_info().rss
        makers: list[Callable[[], bytes]] = [
            lambda: rng.randbytes(rng.randrange(1, 3000)) + b"\n",
            lambda: _sealed(b'{"v":1,"kind":"Hello","by":' + b"[" * (deep := rng.randrange(10, 30_000)) + b"]" * deep),
            lambda: _sealed(b'{"v":1,"kind":"SetKnob","id":"x","by":"y","name":"clip","value":1' + b"0" * 400),
            lambda: b'{"v":1,"kind":"SetKnob","crc":' + b"9" * 5000 + b"}\n",
            lambda: codec.seal({"v": 1, "kind": "Rollback", "id": "x", "by": "y", "to": 1,
                                "skip_batches": 10 ** rng.randrange(1, 400)}).encode() + b"\n",
            lambda: codec.seal({"v": rng.randrange(2, 99), "kind": "Hello"}).encode() + b"\n",
            lambda: codec.seal({"v": 1, "kind": "SetKnob", "id": "x", "by": "y", "name": "lr", "value": "\x1b[2J"})
            .encode() + b"\n",
            lambda: codec.seal({"v": 1, "kind": "Nothing", "id": "x", "by": "y"}).encode(),
            lambda: b"x" * rng.randrange(60_000, 200_000),
            lambda: b"",
        ]
        at, open_ones = session.state.step, list[socket.socket]()
        for number in range(times):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(5)
            open_ones.append(client)  # who hangs up at once is not even read
            if len(open_ones) > 10:
                open_ones.pop(0).close()
            with contextlib.suppress(OSError), address(process.run.socket) as name:
                client.connect(name)
                client.sendall(rng.choice(makers)())
            row.times += 1
            if number % 500 == 0:
                row.expect(wait_for(lambda: step_beyond(session, session.state.step), "steps"), "training stands")
        clients = open_ones
        for _ in range(200):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            with contextlib.suppress(OSError), address(process.run.socket) as name:
                client.connect(name)
            clients.append(client)
        sent = tuitrain("send", str(process.run.path), "note", "still here")
        row.expect(sent.returncode == 0, f"send among 200 connections: {sent.stderr.strip()}")
        for client in clients:
            client.close()
        step_beyond(session, at)
        grown = psutil.Process(process.process.pid).memory_info().rss - memory
        row.expect(grown < 64 << 20, f"memory grew by {grown >> 20} MB")
        row.expect(session.state.step > at and not session.resynchronised, "the watching client was disturbed")
        row.remark = f"{session.state.step - at:,} steps meanwhile, memory +{max(0, grown) >> 20} MB"
    row.expect(process.end() == 143, f"the run does not end well: {process.tail()}")
    Ledger(process.run).check(row)
    return row


def _sealed(open_object: bytes) -> bytes:
    """A line with a true checksum round an object that lacks its closing brace."""
    return open_object + b',"crc":%d}\n' % zlib.crc32(open_object + b"}")


def drops(times: int, folder: Path, rng: random.Random) -> Row:
    """A cockpit over a real ssh on the loopback address, whose client or server is killed."""
    row = Row("ssh drops", "kill -9 of the ssh client or of its sshd under an attached cockpit")
    process = Process.fresh(folder / "run")
    with sshd(folder / "ssh") as ssh, contextlib.closing(process.session()) as session:
        for number in range(times):
            at = session.state.step
            client, screen = ssh(f"cd {ROOT} && exec {sys.executable} -m tuitrain attach {process.run.path}")
            seen = bytearray()

            def drawn() -> bool:
                with contextlib.suppress(BlockingIOError):
                    seen.extend(os.read(screen, 65536))  # noqa: B023 - called before the next round
                return len(seen) > 4000  # noqa: B023
            try:
                wait_for(drawn, "the cockpit over ssh")
                cockpits = [p for p in psutil.process_iter(["cmdline"])
                            if p.info["cmdline"] and p.info["cmdline"][1:4] == ["-m", "tuitrain", "attach"]
                            and str(process.run.path) in p.info["cmdline"]]
                row.expect(len(cockpits) == 1, f"{len(cockpits)} cockpits")
                victim = client.pid if number % 2 else cockpits[0].parent().pid
                os.kill(victim, signal.SIGKILL)
                client.kill()
                client.wait()
                wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE
                                         for p in cockpits),  # noqa: B023
                         "the end of the cockpit", 20.0)
                wait_for(lambda: step_beyond(session, max(at, session.state.step)), "steps")  # noqa: B023
            except AssertionError as error:
                row.wrong.append(f"drop {number}: {error}")
            finally:
                client.kill()
                client.wait()
                os.close(screen)
            row.times += 1
            row.lost.append(0.0)
        row.expect(session.resynchronised == 0, "the other client was disturbed")
    row.expect(process.end() == 143, f"the run does not end well: {process.tail()}")
    Ledger(process.run).check(row)
    return row


@dataclass(frozen=True)
class Login:
    """How to log in to an sshd on the loopback address."""

    port: int
    key: Path

    def words(self, command: str) -> list[str]:
        """The command line that runs a command there, in the terminal it is started in."""
        return ["ssh", "-tt", "-q", "-p", str(self.port), "-i", str(self.key), "-o", "StrictHostKeyChecking=no",
                "-o", "UserKnownHostsFile=/dev/null", "127.0.0.1", f"TERM=xterm-256color; export TERM; {command}"]

    def __call__(self, command: str) -> tuple["subprocess.Popen[bytes]", int]:
        """Start a command there, in a terminal of 120x40; returns the client and our end of that."""
        import fcntl
        import pty
        import struct
        import termios

        screen, end = pty.openpty()
        fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        os.set_blocking(screen, False)
        client = subprocess.Popen(self.words(command), stdin=end, stdout=end, stderr=end, start_new_session=True)
        os.close(end)
        return client, screen


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[Login]:
    """An sshd on the loopback address, and how to log in there. Raises FileNotFoundError where there is none."""
    import socket

    server = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
    if server is None or shutil.which("ssh") is None:
        raise FileNotFoundError("there is no sshd")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name in ("host", "user"):
        (folder / name).unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    Path("/run/sshd").mkdir(exist_ok=True)
    options = {"HostKey": folder / "host", "AuthorizedKeysFile": folder / "user.pub", "Port": port,
               "ListenAddress": "127.0.0.1", "StrictModes": "no", "PidFile": "none", "UsePAM": "no",
               "PermitRootLogin": "yes", "PasswordAuthentication": "no"}
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    daemon = subprocess.Popen([server, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.DEVNULL)

    def listening() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(listening, "sshd")
        yield Login(port, folder / "user")
    finally:
        daemon.terminate()
        daemon.wait()
