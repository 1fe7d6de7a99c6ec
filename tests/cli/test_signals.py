"""Signals to a run without a screen: each ends it with a checkpoint and an exit code, or leaves it alone."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.test_cli import SMALL, Live, tuitrain
from tuitrain.protocol import events as e
from tuitrain.run import checkpoints, journal
from tuitrain.run.directory import RunDirectory

pytestmark = pytest.mark.slow

ENDED = [(signal.SIGQUIT, 131, "quit"), (signal.SIGUSR1, 75, "out of time"), (signal.SIGUSR2, 75, "out of time"),
         (signal.SIGXCPU, 75, "out of time")]


@pytest.mark.parametrize(("number", "code", "reason"), ENDED)
def test_a_signal_ends_with_a_checkpoint_and_its_exit_code(
        tmp_path: Path, corpus: Path, number: int, code: int, reason: str) -> None:
    live = Live(tmp_path, corpus, "--no-ui", "--run", "run", *SMALL)
    live.at(20)
    returned, out, err = live.end(number)
    assert returned == code and reason in out and "tuitrain resume run" in out and "Traceback" not in err
    last = max(x.first_step + len(x.loss) - 1 for x in live.steps())
    assert checkpoints.list_all(live.folder.checkpoints)[-1].step == last
    assert reason in tuitrain("runs", "run", cwd=tmp_path).stdout


def test_the_loop_of_a_job_script_reaches_the_last_step(tmp_path: Path, corpus: Path) -> None:
    """Requeued as long as the exit code says so, exactly as docs/interruptions.md has it."""
    live = Live(tmp_path, corpus, "--no-ui", "--run", "run", "--steps=0", *SMALL)
    live.at(20)
    assert live.end(signal.SIGUSR1)[0] == 75
    live = Live(tmp_path, "resume", "run", "--no-ui", "--minutes", "0.02")
    out, err = live.process.communicate(timeout=90)
    assert live.process.returncode == 75 and "out of time" in out, err
    last = live.steps()[-1].first_step + 200  # set now, so that no machine is fast enough to be there before
    done = tuitrain("resume", "run", "--no-ui", f"--steps={last}", cwd=tmp_path)
    assert done.returncode == 0 and "exactly" in done.stdout


def test_a_hangup_is_ignored_by_who_was_started_so(tmp_path: Path, corpus: Path) -> None:
    """As nohup does it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tuitrain", str(corpus), "--no-ui", "--run=run", *SMALL], cwd=tmp_path,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    live = Live.__new__(Live)
    live.cwd, live.process = tmp_path, process
    live.folder = RunDirectory(tmp_path / "run")
    live.at(20)
    process.send_signal(signal.SIGHUP)
    step = live.steps()[-1].first_step
    live.at(step + 200)
    assert live.end(signal.SIGTERM)[0] == 143


def test_stopped_and_continued_it_goes_on_as_if_nothing_had_been(tmp_path: Path, corpus: Path) -> None:
    live = Live(tmp_path, corpus, "--no-ui", "--run", "run", *SMALL, "--steps=400", "--keep=0")
    for i in range(5):
        live.at(20 * i)
        for _ in range(20):
            live.process.send_signal(signal.SIGTSTP)
            live.process.send_signal(signal.SIGCONT)
            live.process.send_signal(signal.SIGWINCH)
    out, err = live.process.communicate(timeout=90)
    assert live.process.returncode == 0 and "finished" in out, err
    assert tuitrain(corpus, "--no-ui", "--run=whole", *SMALL, "--steps=400", "--keep=0", cwd=tmp_path).returncode == 0
    hashes = {checkpoints.list_all(tmp_path / run / "checkpoints")[-1].params_sha256 for run in ("run", "whole")}
    assert len(hashes) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGQUIT, signal.SIGINT])
def test_a_signal_before_the_first_step_leaves_nothing_behind(tmp_path: Path, corpus: Path, number: int) -> None:
    live = Live(tmp_path, corpus, "--no-ui", "--run", "run", *SMALL)
    deadline = time.monotonic() + 60
    # torch's own library is mapped: the program is busy making the run, and nothing of it is there yet.
    while "libtorch_cpu" not in Path(f"/proc/{live.process.pid}/maps").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    returned, _, err = live.end(number)
    said = [line for line in err.splitlines() if not line.endswith("…")]  # what it was doing when it was told to end
    assert returned in (130, 131, 143, 75) and len(said) == 1 and "before training began" in said[0]
    assert not live.folder.config.exists()


def test_a_signal_while_the_disk_is_full_ends_within_seconds(tmp_path: Path, corpus: Path) -> None:
    before = os.environ.get("TUITRAIN_FULL")
    os.environ["TUITRAIN_FULL"] = "tensors-written"
    try:
        live = Live(tmp_path, corpus, "--no-ui", "--run", "run", *SMALL, "--checkpoint-every=5")
    finally:
        del os.environ["TUITRAIN_FULL"]
        if before is not None:
            os.environ["TUITRAIN_FULL"] = before
    live.at(20)
    deadline = time.monotonic() + 60
    while not list(journal.read(live.folder.journal, kinds=(e.SavingFailed,))) and time.monotonic() < deadline:
        time.sleep(0.05)
    began = time.monotonic()
    returned, out, _ = live.end(signal.SIGTERM)
    assert time.monotonic() - began < 20.0  # it used to be 30 and more
    assert returned == 143 and "could not be saved" in out


def test_too_little_memory_is_one_line_with_what_to_do(tmp_path: Path, corpus: Path) -> None:
    for megabytes, code, said in ((150, 1, "not enough memory ("), (300, 1, "`ulimit -v` grants 315 MB"),
                                  (700, 2, "addresses that `ulimit -v` allows")):
        done = subprocess.run(
            [sys.executable, "-m", "tuitrain", str(corpus), "--no-ui", "--run=run", "--steps=5", *SMALL], cwd=tmp_path,
            capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda m=megabytes: resource.setrlimit(resource.RLIMIT_AS, (m << 20, m << 20)))
        lines = [line for line in done.stderr.splitlines() if not line.endswith(" …")]
        assert done.returncode == code and said in lines[0], (megabytes, done.stderr)
        assert len(lines) == 1 and not (tmp_path / "run" / "config.json").exists()
