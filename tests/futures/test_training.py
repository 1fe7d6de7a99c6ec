"""An arm is the run itself with other knobs: the same numbers bit for bit where none is turned."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import Run
from tests.futures.conftest import END, MIDDLE
from tuitrain.charlstm.model.moments import moment_scale, scale_moments
from tuitrain.diagnosis.arms import Arm
from tuitrain.errors import CheckpointError
from tuitrain.futures import points, training
from tuitrain.futures.reading import CUT, WHOLE
from tuitrain.run import journal, verify
from tuitrain.run.checkpoints import list_all
from tuitrain.run.directory import RunDirectory


def test_an_arm_that_turns_nothing_is_the_run_bit_for_bit(ended: Run, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in ended.folder.path.rglob("*") if path.is_file()}
    point = points.newest(ended.folder, MIDDLE)
    assert point.step == MIDDLE
    reading = training.train(point, Arm(), END - MIDDLE, tmp_path / "arm")
    told = ended.losses()
    assert reading.losses == [told[step] for step in range(MIDDLE + 1, END + 1)]
    assert reading.params_sha256 == list_all(ended.folder.checkpoints)[-1].params_sha256
    assert reading.state == WHOLE and reading.validation > 0 and reading.sample
    assert np.mean(reading.stretches) == pytest.approx(reading.validation, rel=0.05)
    assert [step for step, _ in reading.radii] == [MIDDLE, *range(MIDDLE + 5, END + 1, 5)]
    assert {path: path.read_bytes() for path in ended.folder.path.rglob("*") if path.is_file()} == before


def test_the_folder_of_an_arm_is_a_run_that_can_be_looked_at_and_resumed(ended: Run, tmp_path: Path) -> None:
    arm = RunDirectory(tmp_path / "arm")
    reading = training.train(points.newest(ended.folder, MIDDLE), Arm(lr="x0.5", clip="0.1"), 20, arm.path)
    assert all(found.state != verify.DAMAGED for found in verify.check(arm, lambda kept: "text"))
    assert [mark.step for mark in list_all(arm.checkpoints)][:2] == [MIDDLE, MIDDLE + 20]
    assert training.read_result(arm.path).to_json() == reading.to_json()
    again = training.Reading(reading.arm, MIDDLE, 20)
    for event, _ in journal.read(arm.journal):
        again.take(event)
    again.stretches = reading.stretches
    assert again.to_json() == reading.to_json(), "a scheduler's arm can be followed from its journal"


def test_an_arm_under_other_knobs_reads_the_same_batches(ended: Run, tmp_path: Path) -> None:
    slow = training.train(points.newest(ended.folder, MIDDLE), Arm(lr="0"), 20, tmp_path / "arm")
    told = ended.losses()
    assert slow.losses[0] == told[MIDDLE + 1] and slow.losses[5] != told[MIDDLE + 6]
    assert slow.growth == pytest.approx(0, abs=1e-6)


def test_the_moments_of_an_arm_with_another_clip_are_as_if_it_had_always_had_it(ended: Run, tmp_path: Path) -> None:
    norms = np.array([1.0, 2.0, 4.0])
    assert moment_scale(norms, 0.0, 1.0) == pytest.approx((1 + 0.5 + 0.25) / 3)
    assert moment_scale(norms, 2.0, 0.0) == pytest.approx(3 / 2.5)
    assert moment_scale(norms, 5.0, 9.0) == moment_scale(norms[:0], 1.0, 2.0) == 1.0
    machine = ended.machine
    before = {name: t.clone() for name, t in machine.optimizer.tensors().items()}
    scale_moments(machine.optimizer.tensors(), 0.5)
    for name, tensor in machine.optimizer.tensors().items():
        factor = {"exp_avg": 0.5, "exp_avg_sq": 0.25, "step": 1.0}[name.split(".")[-1]]
        assert torch.equal(tensor, before[name] * factor)


def test_a_clip_that_is_a_hidden_cut_of_the_rate_shows_no_gain_from_it(ended: Run, tmp_path: Path) -> None:
    """Under Adam a clip far below every norm is divided out; with moments of before it would be a tiny rate."""
    low = training.train(points.newest(ended.folder, MIDDLE), Arm(clip="0.001"), 10, tmp_path / "low")
    plain = training.train(points.newest(ended.folder, MIDDLE), Arm(), 10, tmp_path / "plain")
    assert low.update > 0.5 * plain.update


def test_an_arm_that_is_cut_has_its_validation(ended: Run, tmp_path: Path) -> None:
    arm = training.Training(points.newest(ended.folder, MIDDLE), Arm(), 10**6, tmp_path / "arm")
    reading = arm.run(lambda so_far: arm.cut() if so_far.done else None)
    assert reading.state == CUT and 0 < reading.done < 10**6 and reading.validation > 0


def test_the_rules_know_what_led_to_the_point(ended: Run) -> None:
    events = list(points.newest(ended.folder, MIDDLE).past())
    steps = [step for event in events if hasattr(event, "loss") and hasattr(event, "first_step")
             for step in range(event.first_step, event.first_step + len(event.loss))]
    assert steps == list(range(1, MIDDLE + 1))


def test_a_point_that_is_not_there_is_named(ended: Run) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at or before step 3; there are: 60, 100"):
        points.newest(ended.folder, 3)
