"""A race as a person starts it: the cost first, arms in turn, cut or cancelled; the run stays as it was."""

import io
import itertools
import json
import math
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.futures.conftest import END, MIDDLE, save_now
from tuitrain.cli import futures as command
from tuitrain.cli.main import main
from tuitrain.diagnosis.arms import Arm
from tuitrain.errors import INTERRUPTED, UsageError
from tuitrain.futures import points
from tuitrain.futures.race import Race, plan
from tuitrain.futures.reading import CUT, WHOLE, Reading
from tuitrain.run import verify
from tuitrain.run.checkpoints import list_all
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.units import size


def race_of(run: Run, *arms: Arm, steps: int = 20, at: int = MIDDLE) -> Race:
    return Race(plan(points.newest(run.folder, at), (Arm(), *arms), steps))


def test_the_command_races_and_says_what_it_saw(ended: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(ended.folder.path)
    assert main(["futures", folder, "--from", "70", "--lr", "x0.5", "--arm", "clip=0.2 lr=x2", "--steps", "20"]) == 0
    out, err = capsys.readouterr()
    assert f"3 arms of 20 steps from step {MIDDLE}: 60 steps" in err and err.count("whole after 20 steps") == 3
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["arm", "loss"] and [line[:8] for line in lines[1:4]] == [
        "as it is", "lr x0.5 ", "clip 0.2"]
    assert "no arm broke within 20 steps" in out and "recommended: " in out
    assert sorted(p.name for p in (ended.folder.path / "futures" / f"from-{MIDDLE}-1").iterdir()) == [
        "1-as-it-is", "2-lr-x0.5", "3-clip-0.2-lr-x2", "race.json"]


def test_another_begin_than_the_one_asked_for_is_said(ended: Run, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["futures", str(ended.folder.path), "--lr", "x0.5", "--steps", "5", "--from"]
    said = f"the last checkpoint up to step 70 is of step {MIDDLE}: the race begins there"
    assert main([*words, "70"]) == 0 and said in capsys.readouterr().err
    assert main([*words, str(MIDDLE)]) == 0 and "the last checkpoint up to" not in capsys.readouterr().err


def test_the_size_is_said_before_and_the_next_race_deletes_the_weights_of_the_last(
        ended: Run, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["futures", str(ended.folder.path), "--from", str(MIDDLE), "--lr", "x0.5,x0.1,x2,x3", "--steps", "5"]
    ends = []
    for _ in range(2):
        assert main([*words, "--json"]) == 0
        out, err = capsys.readouterr()
        made = plan(points.newest(ended.folder, MIDDLE), [Arm()] * 5, 5)
        assert made.bytes >= 5 * made.point.bytes > 10_000 and f"about {size(made.bytes)} on disk, of which" in err
        arms = sorted(path for path in Path(json.loads(out)["folder"]).iterdir() if path.is_dir())
        assert len(arms) == 5
        ends.append([sorted({mark.step for mark in list_all(arm / "checkpoints")}) for arm in arms])
        assert ends[-1] == [[MIDDLE, MIDDLE + 5]] * 5, "any arm can be chosen"
        for arm in (ended.folder.path / "futures").glob("*/*/"):
            assert all(found.state != verify.DAMAGED for found in verify.check(RunDirectory(arm), lambda kept: "text"))
    old = ended.folder.path / "futures" / f"from-{MIDDLE}-1"
    left = [[mark.step for mark in list_all(arm / "checkpoints")] for arm in old.glob("*/")]
    assert left == [[MIDDLE]] * 5 and all((arm / "reading.json").exists() for arm in old.glob("*/"))


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_no_loss_before_there_is_one_and_then_in_the_unit_of_the_table(
        ended: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    contest, screen = race_of(ended), Screen()
    clock = itertools.count(1)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(command.time, "monotonic", lambda: float(next(clock)))

    def run(told: Callable[[int, Reading], None]) -> list[Reading]:
        reading = Reading(Arm(), MIDDLE, 20)
        told(1, reading)
        reading.losses = [math.log(2)] * 10
        told(1, reading)
        reading.state, reading.validation = WHOLE, 2 * math.log(2)
        told(1, reading)
        return [reading]

    monkeypatch.setattr(contest, "run", run)
    command.carry_out(contest)
    opening, half, end = screen.getvalue().split("\r\x1b[K")[1:]
    assert "nan" not in opening and "0 of 20  opening" in opening
    assert "10 of 20  loss 1.000 bpc" in half and "whole after 0 steps" not in half
    assert end.strip() == "arm 1 of 1, as it is: whole after 10 steps, validation 2.000 bpc"


def test_the_same_as_json_without_arms(ended: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["futures", str(ended.folder.path), "--from", str(MIDDLE), "--steps", "10", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert [arm["arm"] for arm in body["arms"]] == ["as it is", "lr x0.5", "lr x0.25", "lr x0.1"]
    told = ended.losses()
    assert body["arms"][0]["losses"] == [told[step] for step in range(MIDDLE + 1, MIDDLE + 11)]
    assert body["step"] == MIDDLE and body["recommended"] in [arm["arm"] for arm in body["arms"]]


def test_one_press_cuts_an_arm_and_two_cancel_the_race(ended: Run) -> None:
    contest = race_of(ended, Arm(lr="x0.5"), Arm(lr="x0.25"), steps=10**6)
    times = iter((0.0, command.AGAIN + 1, command.AGAIN + 2))
    pressed: list[int] = []

    def told(number: int, reading: Reading) -> None:
        if reading.done and not reading.state and number not in pressed:
            pressed.append(number)
            for _ in range(number):
                signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with command._signals(contest, lambda: next(times)):
        contest.run(told)
    assert signal.getsignal(signal.SIGINT) is before
    assert [reading.state for reading in contest.readings] == [CUT, CUT] and contest.cancelled


def test_a_cancelled_race_ends_with_its_exit_code(ended: Run, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    run = Race.run

    def cancelled(self: Race, told: object) -> list[Reading]:
        def soon(number: int, reading: Reading) -> None:
            if reading.done:
                self.cancel()

        return run(self, soon)

    monkeypatch.setattr(Race, "run", cancelled)
    assert main(["futures", str(ended.folder.path), "--from", str(MIDDLE), "--steps", "1000000"]) == INTERRUPTED
    assert "cut after" in capsys.readouterr().out


def test_nothing_of_the_run_is_touched_by_a_race(ended: Run) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in ended.folder.path.rglob("*")
                if path.is_file() and "futures" not in path.parts}

    before = files()
    contest = race_of(ended, Arm(lr="x3"))
    assert [reading.state for reading in contest.run()] == [WHOLE, WHOLE]
    assert files() == before


def test_a_run_is_resumed_after_a_race_as_if_there_had_been_none(ended: Run, resume: object) -> None:
    race_of(ended, Arm(lr="x3")).run()
    again = resume(ended.folder)  # type: ignore[operator]
    assert again.machine.progress.step == END and again.machine.progress.branch == 0


def test_a_race_goes_no_further_than_the_run(ended: Run) -> None:
    point = points.newest(ended.folder, MIDDLE)
    point.values["knobs"]["steps"] = MIDDLE + 7
    assert plan(point, (Arm(),), 600).steps == 7
    point.values["knobs"]["steps"] = MIDDLE
    with pytest.raises(UsageError, match="step 60 is the last of the run: name an earlier one"):
        plan(point, (Arm(),), 600)


def test_who_is_asked_and_says_no_has_trained_nothing(ended: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "agreed", lambda yes: yes)
    assert main(["futures", str(ended.folder.path), "--from", str(MIDDLE)]) == 0
    assert not (ended.folder.path / "futures").exists()


def test_a_living_run_is_raced_from_its_checkpoint_and_that_is_said(
        start: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = start(steps=0, clip=1.0, on_divergence="warn")
    run.to_step(30)
    save_now(run)
    lock = run.folder.lock()
    try:
        assert main(["futures", str(run.folder.path), "--lr", "x0.5", "--steps", "10"]) == 0
    finally:
        lock.release()
    out, err = capsys.readouterr()
    assert "the run trains on meanwhile and is not touched" in err and "2 arms of 10 steps from step 30" in err
    assert out.splitlines()[1].startswith("as it is")
    run.to_step(40)
