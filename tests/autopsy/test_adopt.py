"""A checkpoint of somebody else becomes a run: the same weights and moments, and it trains on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.autopsy import made
from tuitrain.autopsy import adoption
from tuitrain.autopsy.readers import READERS
from tuitrain.autopsy.readers.reader import find
from tuitrain.cli.main import main
from tuitrain.errors import RunError, UsageError
from tuitrain.protocol import events as e
from tuitrain.run import checkpoints, journal
from tuitrain.run.directory import RunDirectory

Copy = Callable[[], Path]


def test_the_last_healthy_one_trains_on_and_gets_better(copy: Copy, tmp_path: Path,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    folder, run = copy(), RunDirectory(tmp_path / "run")
    assert main(["adopt", str(folder / "lm_210.pt"), "--corpus", str(tmp_path / "text.txt"), "--run", str(run.path),
                 "--no-ui", "--lr", "0.01", "--batch-size", "8", "--bptt", "25", "--steps", "260"]) == 0
    said = capsys.readouterr().err
    assert "lm_210.pt is now the run" in said and "Adam's moments and its 210 steps: exact" in said
    assert "move twice as far" not in said and "broken" not in said
    events = [event for event, _ in journal.read(run.journal)]
    steps = [event for event in events if isinstance(event, e.StepsDone)]
    assert steps[0].first_step == 211 and steps[0].branch == 0
    first, last = float(np.mean(steps[0].loss[:1])), [event for event in events if isinstance(event, e.Evaluated)][-1]
    assert first < 2.0 and last.loss < first
    assert isinstance(events[-1], e.RunEnded) and events[-1].reason == "finished"


def test_weights_and_moments_are_those_of_the_checkpoint(copy: Copy, tmp_path: Path) -> None:
    folder, run = copy(), RunDirectory(tmp_path / "run")
    assert main(["adopt", str(folder / "lm_60.pt"), "--corpus", str(tmp_path / "text.txt"), "--run", str(run.path),
                 "--only"]) == 0
    stored = torch.load(folder / "lm_60.pt", weights_only=True)
    listing = find(run.checkpoints, READERS)
    ours = listing.reader.read(listing.entries[0])
    assert ours.step == 60 and ours.adam is not None and ours.adam.steps == 60
    names = {"linear.weight": "head.weight", "linear.bias": "head.bias"}
    for i, (name, tensor) in enumerate(stored["model_state_dict"].items()):
        mine = names.get(name, name)
        assert np.array_equal(ours.arrays[mine], tensor.numpy())
        moments = stored["optimizer_state_dict"]["state"][i]
        assert np.array_equal(ours.adam.first[mine], moments["exp_avg"].numpy())
        assert np.array_equal(ours.adam.second[mine], moments["exp_avg_sq"].numpy())
    (mark,) = checkpoints.list_all(run.checkpoints)
    assert mark.reason == adoption.REASON and mark.pinned


def test_a_broken_one_is_said_to_be_broken(copy: Copy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy()
    assert main(["adopt", str(folder / "lm_300.pt"), "--corpus", str(tmp_path / "text.txt"), "--run",
                 str(tmp_path / "run"), "--only"]) == 0
    assert "is no better than counting letters" in capsys.readouterr().err


def test_tflearns_checkpoint_says_what_its_one_bias_means(tmp_path: Path) -> None:
    made.tflearn_set(tmp_path / "set", 2, layers=1, hidden=6)
    (tmp_path / "text.txt").write_text(made.TEXT)
    prefix = tmp_path / "set" / "model_checkpoint_v3-142"
    for path in (prefix, prefix.with_name(prefix.name + ".index")):
        candidate = adoption.consider(path, tmp_path / "text.txt", {"clip": 1.0})
        assert candidate.one_bias and candidate.adam is not None and candidate.adam.steps == 142
    assert {name: candidate.given[name] for name in ("loss", "bptt", "stride", "batch_size", "lr", "clip")} == {
        "loss": "last", "bptt": 30, "stride": 3, "batch_size": 128, "lr": 1e-3, "clip": 1.0}
    told = adoption.adopt(candidate, RunDirectory(tmp_path / "run"))
    assert any("move twice as far" in words for words in told)


def test_what_cannot_become_a_run_is_one_line(copy: Copy, tmp_path: Path) -> None:
    folder = copy()
    with pytest.raises(RunError, match=r"no checkpoint of that name; the last ones in .* are .*lm_300\.pt"):
        adoption.consider(folder / "lm_9.pt", tmp_path / "text.txt", {})
    with pytest.raises(UsageError, match="which text"):
        adoption.consider(folder / "lm_30.pt", None, {})
    (folder / "lm_30.pt").write_bytes((folder / "lm_30.pt").read_bytes()[:4000])
    with pytest.raises(RunError, match="damaged or cut off"):
        adoption.consider(folder / "lm_30.pt", tmp_path / "text.txt", {})
