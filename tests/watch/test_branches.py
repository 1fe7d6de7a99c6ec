"""A watched loop that is resumed from before its last step says which branch it goes on from."""

from pathlib import Path

from tests.watch.loops import Loop, of_kind, told
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory


def test_a_loop_resumed_from_before_its_last_step_names_the_branch_that_it_goes_on_from(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    Loop().watch(folder).run(4).pilot.close()
    Loop().watch(folder, resume=True).run(4).pilot.close()
    newest = list(RunDirectory(folder).checkpoints.glob("b0-000000008*"))
    assert newest
    for path in newest:
        path.unlink()
    Loop().watch(folder, resume=True).run(3).pilot.close()
    resumed = of_kind(told(folder), e.RunResumed)
    assert [(r.step, r.branch, r.parent) for r in resumed] == [(4, 0, None), (4, 1, 0)]
