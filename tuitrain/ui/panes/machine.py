"""Model and machine: what is trained, on what, and how much memory is used."""

import textwrap

from rich.text import Text

from tuitrain.protocol.events import MachineUsed
from tuitrain.specs import cell
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import duration, interval, many, number, rate, safe, size
from tuitrain.ui.picture import Picture
from tuitrain.ui.view import View

NAME = 8
"""Width of the names column in cells."""


class MachinePane(Picture):
    """Facts of the run and the machine; shown in the wide layout."""

    period = 1.0
    heading = "machine"

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return one row per fact, more if it has to be wrapped."""
        c, f = state.config, state.facts
        if not c:
            return [Text(view.remark or "torch is being loaded", style=self.palette().dim)]
        if f.description:
            return [row for name, words in (
                ("device", f"{state.device}, {state.precision}"), ("threads", str(state.threads)), *_used(state.used),
                ("speed", f"{number(state.steps_per_second)} steps/s"), *f.description,
                ("trained", duration(state.trained_seconds)), ("guard", state.guard), *_saved(state), *_unread(state))
                for row in self._rows(safe(name), safe(words), width)]
        embedding = "one-hot" if c["embedding"] == "onehot" else f"embedding {c['embedding']}"
        rows = [
            ("device", ", ".join(state.computes)),
            ("threads", f"{state.threads}" + (f" ({safe(f.timed)})" if f.timed else "")),
            *((f"rank {rank}", safe(where)) for rank, where in enumerate(f.ranks)),
            *_used(state.used),
            ("speed", f"{rate(state.characters_per_second)}, {number(state.steps_per_second)} steps/s"),
            ("model", f"{c['layers']}x{c['hidden']} {safe(cell(c).title)}, {embedding}"),
            ("size", f"{f.parameters:,} parameters"),
            ("text", f"{f.train:,} + {f.validation:,} characters"),
            ("batch", f"{c['batch_size']} x {c['bptt']}, {f.steps_per_epoch:,} steps an epoch"),
            ("steps", f"{c['optimizer']}, {c['lr_schedule']} lr"),
            ("trained", duration(state.trained_seconds)),
            ("guard", state.guard),
            *_saved(state),
            *_unread(state),
        ]
        return [row for name, words in rows for row in self._rows(name, words, width)]

    def _rows(self, name: str, words: str, width: int) -> list[Text]:
        """Return a fact, wrapped with an indent."""
        first, *others = textwrap.wrap(words, max(12, width - NAME - 1)) or [""]
        return [Text(f"{name:<{NAME}} ", style=self.palette().dim).append(first, style="default"),
                *(Text(" " * (NAME + 1) + words) for words in others)]


def _saved(state: RunState) -> list[tuple[str, str]]:
    if "checkpoint_every" not in state.config:
        return []
    last = state.story.last_saved
    words = f"every {interval(state.config['checkpoint_every'])}"
    return [("saved", words + (f", last at step {last.step:,}" if last is not None else ""))]


def _unread(state: RunState) -> list[tuple[str, str]]:
    return [("unread", f"{many(state.unusable, 'event')} that cannot be read here")] if state.unusable else []


def _used(used: MachineUsed | None) -> list[tuple[str, str]]:
    if used is None:
        return []
    rows = [("memory", f"{size(used.memory)} of {size(used.memory_total)}")]
    if used.gpu_memory is not None:
        words = [f"{used.gpu_load:.0f} %"] if used.gpu_load is not None else []
        words += [f"{used.gpu_temperature:.0f} °C"] if used.gpu_temperature is not None else []
        words.append(f"{size(used.gpu_memory)} of {size(used.gpu_memory_total or 0)}")
        rows.append(("gpu", ", ".join(words)))
    return rows
