"""Standard streams that the parent closed or that take nothing: a clear line, and no run is harmed by it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli import SMALL, tuitrain
from tuitrain.run.directory import RunDirectory

pytestmark = pytest.mark.slow


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line.replace("tuitrain", f"{sys.executable} -m tuitrain")], cwd=cwd,
                          text=True, timeout=120, capture_output=True, check=False)


@pytest.mark.parametrize("words", ["--help", "runs --help", "help", "fetch", "--version", "--show-config"])
def test_a_full_disk_behind_standard_output_is_one_line(words: str, tmp_path: Path) -> None:
    done = shell(f"tuitrain {words} >/dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (1, "tuitrain: standard output: No space left on device\n")


def test_a_reader_who_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    done = shell("tuitrain help | head -1; echo ${PIPESTATUS[0]}", tmp_path)
    assert done.stdout.endswith("\n0\n") and done.stderr == ""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full"])
def test_a_closed_stream_harms_no_run(closed: str, tmp_path: Path, corpus: Path) -> None:
    run = f"{corpus} --no-ui --run=run --steps=20 {' '.join(SMALL)}"
    done = shell(f"tuitrain {run} {closed}", tmp_path)
    assert done.returncode == 0, done.stderr
    folder = RunDirectory(tmp_path / "run")
    lock = (folder.path / "lock").read_text()
    assert lock.startswith("pid ") and "tuitrain:" not in lock
    assert tuitrain("runs", "run", cwd=tmp_path).stdout.splitlines()[1].split()[1:3] == ["finished", "20"]
    for words in ("runs run", "sample run --length=9", "replay run --no-ui"):
        done = shell(f"tuitrain {words} >/dev/full", tmp_path)
        assert (done.returncode, done.stderr) == (1, "tuitrain: standard output: No space left on device\n"), words


def test_a_name_that_is_no_text_or_looks_like_an_option(tmp_path: Path, text: str) -> None:
    odd = os.fsdecode(b"b\xffook.txt")
    for name in (odd, "-book.txt"):
        (tmp_path / name).write_text(text)
    for name, run in ((odd, os.fsdecode(b"r\xfe")), ("-book.txt", "-run")):
        done = subprocess.run([sys.executable, "-m", "tuitrain", "--no-ui", "--detach", f"--run={run}", *SMALL,
                               "--", name], cwd=tmp_path, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0 and done.stdout == os.fsencode(run) + b"\n", done.stderr
        for words in (["send", "--", run, "stop"], ["resume", "--no-ui", "--steps=1000000", "--detach", "--", run],
                      ["send", "--", run, "stop"], ["runs", "--", run]):
            done = subprocess.run([sys.executable, "-m", "tuitrain", *words], cwd=tmp_path, capture_output=True,
                                  timeout=120, check=False)
            assert done.returncode == 0, (words, done.stderr)
        assert b"stopped" in done.stdout
