"""README and docs say what the program does: the commands of the set-up, the exit codes, the job script."""

import re
import signal
import subprocess
from pathlib import Path

from tuitrain.cli.signals import ENDINGS

ROOT = Path(__file__).resolve().parents[2]
README, INTERRUPTIONS = (ROOT / "README.md").read_text(), (ROOT / "docs" / "interruptions.md").read_text()


def test_the_set_up_is_not_silent_and_is_what_the_checks_run() -> None:
    commands = [line.strip() for line in README.splitlines() if line.strip().startswith("python3 -m venv")]
    assert len(commands) == 2 and all("-q" not in c.split() and "--quiet" not in c for c in commands)
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()
    assert README.index("source .venv/bin/activate") < README.index("    tuitrain copperfield.txt")


def test_every_signal_stands_with_its_exit_code() -> None:
    rows = [line for line in INTERRUPTIONS.splitlines() if line.startswith("|")]
    for number, (_, code) in ENDINGS.items():
        [row] = [r for r in rows if number.name in r.split("|")[1]]
        assert row.rstrip("| ").endswith(str(code)), row
        assert str(code) in README
    assert {"SIGTSTP", "SIGWINCH", "SIGKILL"} <= set(re.findall(r"SIG\w+", INTERRUPTIONS))
    assert signal.SIGTSTP not in ENDINGS


def test_the_job_script_resumes_requeues_and_passes_the_code_on(tmp_path: Path) -> None:
    script = "\n".join(line[4:] for line in INTERRUPTIONS.split("## Slurm")[1].split("Where a batch")[0].splitlines()
                       if line.startswith("    ")).replace("source .venv/bin/activate", "")
    assert "--signal=USR1@" in script
    called = tmp_path / "called"
    stubs = (f'srun() {{ echo "$@" >> {called}; mkdir -p runs/book; touch runs/book/config.json; return $CODE; }}\n'
             f'scontrol() {{ echo "$@" >> {called}; }}\n')
    for code in (75, 143, 0):
        done = subprocess.run(["bash", "-c", stubs + script], cwd=tmp_path, check=False,
                              env={"CODE": str(code), "SLURM_JOB_ID": "7", "PATH": "/usr/bin:/bin"})
        assert done.returncode == code
    assert called.read_text().splitlines() == [
        "tuitrain book.txt --no-ui --run runs/book --epochs 50", "requeue 7",
        "tuitrain resume runs/book --no-ui", "tuitrain resume runs/book --no-ui"]
