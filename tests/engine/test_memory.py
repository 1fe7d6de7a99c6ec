"""Memory that runs out while a snapshot is taken: older points make room, it is told with numbers, training goes on."""

import gc
import weakref
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY, Run
from tuitrain.charlstm import footprint, machine
from tuitrain.charlstm.config import Config
from tuitrain.engine.snapshot import Snapshot, copied, in_blocks
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run import checkpoints

Start = Callable[..., Run]
OUT = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 84.00 MiB.\nGPU 0 has ..."), MemoryError(),
       OSError(12, "Cannot allocate memory"), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]


class Memory:
    """Refuses the next copies of a machine's state."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refuse, self.error = 0.0, Exception()
        monkeypatch.setattr(machine, "copied", self.copied)

    def copied(self, live: Mapping[str, Tensor], device: torch.device | None = None) -> dict[str, Tensor]:
        if self.refuse > 0:
            self.refuse -= 1
            raise self.error
        return copied(live, device)


@pytest.mark.parametrize("error", OUT, ids=lambda error: type(error).__name__)
def test_points_make_room_for_a_snapshot_and_that_is_told(start: Start, monkeypatch: pytest.MonkeyPatch,
                                                          error: Exception) -> None:
    run, memory = start(), Memory(monkeypatch)
    run.to_step(39)
    points = run.trainer.steering._points
    before = len(points)
    memory.refuse, memory.error = 2, error
    run.to_step(45)
    assert len(run.of(e.SnapshotDropped)) == 2 and run.of(e.SnapshotTaken)[-1].step == 40
    [said] = [x for x in run.of(e.EngineSaid) if x.level == "warning"]
    assert "2 restore points" in said.text and f"{before - 2} left" in said.text
    fits = points.bytes
    assert points.budget == fits and len(points) == before - 1
    run.to_step(120)
    assert points.budget == fits >= points.bytes  # no more than that is tried again


def test_without_memory_for_any_copy_training_goes_on_and_its_last_state_is_saved(
        start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run, memory = start(checkpoint_every=20, evaluate_every=15), Memory(monkeypatch)
    run.to_step(12)
    memory.refuse, memory.error = float("inf"), OUT[0]
    refused = run.answer(c.TakeSnapshot)
    assert isinstance(refused, e.CommandRefused) and "no memory for a copy of the run's state" in refused.reason
    assert len(run.trainer.steering._points) == 0
    run.to_step(60)
    assert len([x for x in run.of(e.EngineSaid) if "training goes on" in x.text]) == 1
    ended = run.stop()
    assert ended.exit_code == 0
    assert checkpoints.list_all(run.folder.checkpoints)[-1].step == ended.step


def test_when_there_is_memory_again_points_are_taken_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run, memory = start(), Memory(monkeypatch)
    run.to_step(12)
    memory.refuse, memory.error = float("inf"), OUT[1]
    run.to_step(25)
    memory.refuse = 0
    run.to_step(40)
    assert [p.snapshot.step for p in run.trainer.steering._points][-1:] == [40]


def test_the_state_of_a_full_gpu_is_copied_to_the_host_when_no_point_is_left_to_give_up(
        start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start()
    run.to_step(12)
    live, there = run.machine.state(), []

    def copies(tensors: Mapping[str, Tensor], device: torch.device | None = None) -> dict[str, Tensor]:
        there.append((device, len(run.trainer.steering._points)))
        if device is None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return copied(tensors, device)

    monkeypatch.setattr(machine, "copied", copies)
    run.machine.device = torch.device("cuda")
    kept = run.machine._copied(live)
    assert there[-2:] == [(None, 0), (torch.device("cpu"), 0)] and len(there) > 3
    assert all(torch.equal(kept[name], tensor) for name, tensor in live.tensors.items())
    run.machine.device = torch.device("cpu")


def test_an_error_of_another_kind_is_no_want_of_memory(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run, memory = start(), Memory(monkeypatch)
    memory.refuse, memory.error = 1, RuntimeError("CUDA error: an illegal memory access was encountered")
    run.machine.learn()
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run.machine.freeze()


def test_a_point_that_was_given_up_is_held_by_nobody_and_undo_says_so(start: Start) -> None:
    run = start()
    run.to_step(10)
    run.answer(c.ScaleKnob, name="lr", factor=0.5)
    kept = weakref.ref(next(iter(run.trainer.steering._points)).snapshot.tensors["hidden.h"])
    while run.trainer.steering._points.drop_one(0):
        pass
    run.to_step(11)
    gc.collect()
    assert kept() is None
    refused = run.answer(c.Undo, weights=True)
    assert isinstance(refused, e.CommandRefused) and "no longer in memory" in refused.reason


def test_on_a_gpu_the_budget_is_a_share_of_its_own_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def free(device: object) -> tuple[int, int]:
        asked.append(device)
        return 6 << 30, 80 << 30

    monkeypatch.setattr(torch.cuda, "mem_get_info", free)
    config = Config.of({**TINY, "device": "cuda:1"})
    assert footprint.snapshot_budget(config, 30) == ((6 << 30) - footprint.needed(config, 30)) // 4
    assert asked == ["cuda:1"]
    assert footprint.snapshot_budget(Config.of({**TINY, "device": "cuda", "snapshot_memory": 7}), 30) == 7 << 20


# --- blocks

def test_a_copy_on_another_device_lies_in_one_block() -> None:
    live = {"a": torch.ones(3, 5, device="meta"), "b": torch.ones(7, device="meta", dtype=torch.int64),
            "rng": torch.arange(5)}
    copies = copied(live)
    away = [copies["a"], copies["b"]]
    assert len({t.untyped_storage()._cdata for t in away}) == 1
    assert all(t.storage_offset() * t.element_size() % 64 == 0 for t in away)
    assert copies["rng"].device.type == "cpu" and copies["rng"].tolist() == list(range(5))


def test_sixty_tensors_are_fetched_in_one_copy_bit_for_bit(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuitrain.engine import snapshot

    monkeypatch.setattr(snapshot, "LARGE", 1)  # as on a GPU, in one block whatever its size
    run = start(optimizer="muon", layers=4)
    run.to_step(7)
    frozen = run.machine.freeze()
    blocks: list[int] = []

    def copy(block: Tensor) -> Tensor:
        assert block.dtype == torch.uint8 and block.dim() == 1
        blocks.append(len(block))
        return block.clone()

    fetched = in_blocks(frozen.tensors, copy)
    assert len(fetched) > 40 and blocks == [sum(-(-t.nbytes // 64) * 64 for t in frozen.tensors.values())]
    for name, tensor in frozen.tensors.items():
        assert torch.equal(fetched[name], tensor) and fetched[name].dtype == tensor.dtype
        assert fetched[name].data_ptr() != tensor.data_ptr()


def test_live_tensors_that_share_their_memory_in_part_are_fetched_as_they_are() -> None:
    whole = torch.arange(24.0)
    live = {"first": whole[:6].view(2, 3), "rest": whole[6:].view(3, 6).t(), "other": torch.arange(4)}
    count: list[Tensor] = []
    fetched = in_blocks(live, lambda block: count.append(block) or block.clone())  # type: ignore[func-returns-value]
    assert len(count) == 2
    assert all(torch.equal(fetched[name], live[name]) for name in live)


def test_a_snapshot_on_the_host_is_its_own_arrays() -> None:
    frozen = Snapshot(0, 1, {"x": torch.arange(3.0)}, {})
    assert frozen.arrays()["x"].tolist() == [0, 1, 2]
