"""Reads the checkpoints of our own runs, from the run's folder or from its `checkpoints` alone."""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from numpy.typing import NDArray

from tuitrain.autopsy.readers.reader import Adam, Entry, File, Reader, Stored, Unreadable
from tuitrain.errors import CheckpointError, RunError
from tuitrain.run import checkpoints

WEIGHTS = "model."
_MOMENT = re.compile(r"optimizer\.(\d+)\.(\d+)\.(exp_avg|exp_avg_sq|step)")


class Own(Reader):
    """See module."""

    title: ClassVar = "tuitrain"

    def entries(self, files: Sequence[File]) -> tuple[list[Entry], list[str]]:
        """See Reader."""
        by_name = {file.path.name: file for file in files}
        if not any(checkpoints.NAME.fullmatch(name.removesuffix(".json")) for name in by_name):
            return [], []
        good, bad = checkpoints.survey(files[0].path.parent)
        found = []
        for mark in good:
            mine = [by_name[name] for end in ("json", "safetensors") if (name := f"{mark.name}.{end}") in by_name]
            found.append(Entry.of(mark.name, files[0].path.parent / f"{mark.name}.safetensors", mark.step, mine, mark))
        return found, [damage.why for damage in bad]

    def read(self, entry: Entry) -> Stored:
        """See Reader."""
        mark: checkpoints.Checkpoint = entry.token
        try:
            tensors = checkpoints.load(entry.path.parent, mark)
        except (CheckpointError, RunError) as error:
            raise Unreadable(str(error)) from None
        arrays = {name.removeprefix(WEIGHTS): array for name, array in tensors.items() if name.startswith(WEIGHTS)}
        return Stored(arrays, mark.step, _adam(tensors, list(arrays)), facts=dict(mark.values))


def _adam(tensors: checkpoints.Tensors, names: list[str]) -> Adam | None:
    """Return the moments of a run's Adam, whose parameters are counted from the bottom of the model up."""
    order = sorted(names, key=_place)
    found: dict[str, dict[str, NDArray[Any]]] = {"exp_avg": {}, "exp_avg_sq": {}}
    steps = 0
    for name, array in tensors.items():
        match = _MOMENT.fullmatch(name)
        if match is None or match[1] != "0" or int(match[2]) >= len(order):
            continue
        if match[3] == "step":
            steps = max(steps, int(array))
        else:
            found[match[3]][order[int(match[2])]] = array
    first, second = found["exp_avg"], found["exp_avg_sq"]
    return Adam(first, second, steps) if len(first) == len(second) == len(order) else None


def _place(name: str) -> tuple[int, int, int]:
    """Where a parameter stands among those of the model: see CharRNN.groups."""
    part, _, rest = name.partition(".")
    rank = {"embedding": 0, "head": 2}.get(part, 1)
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if rank == 1 else ("weight", "bias")
    kind, _, layer = rest.rpartition("_l") if rank == 1 else (rest, "", "0")
    return rank, int(layer) if layer.isdigit() else 0, kinds.index(kind) if kind in kinds else len(kinds)
