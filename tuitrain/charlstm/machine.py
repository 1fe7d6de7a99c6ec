"""The live state of a run (model, optimizer, cursor, schedule, knobs), which can be frozen into one snapshot.

Knows how to make one step, to freeze and to thaw; knows nothing of commands, events or files.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tuitrain.charlstm import runtime
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.looks.evaluator import make_model
from tuitrain.charlstm.looks.instruments import EVERY, Instruments
from tuitrain.charlstm.model import capture as graphs
from tuitrain.charlstm.model import optimizers, precision
from tuitrain.charlstm.model.learner import Learner
from tuitrain.charlstm.model.whole_batch import WholeBatch
from tuitrain.charlstm.schedule import Schedule
from tuitrain.charlstm.text.batches import Cursor, make_cursor
from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.diagnosis.clip_advisor import LOOK_BACK
from tuitrain.engine import devices, environment
from tuitrain.engine.progress import Progress, knobs_of, progress_of
from tuitrain.engine.rows import Rows
from tuitrain.engine.snapshot import Snapshot, copied
from tuitrain.errors import NoRoom, is_out_of_memory
from tuitrain.knobs import Knobs
from tuitrain.protocol.facts import CAPTURED
from tuitrain.telemetry.units import size


class Machine:
    """One model being trained. `steps_per_epoch` is fixed by corpus and batch shape."""

    def __init__(self, config: Config, corpus: Corpus, knobs: Knobs, batch: WholeBatch | None = None) -> None:
        devices.make_current(config.device)
        torch.manual_seed(config.seed)
        self.config: Config = config
        self.corpus: Corpus = corpus
        self.knobs: Knobs = knobs
        self.device: torch.device = torch.device(config.device)
        if self.device.type == "cuda":
            precision.set_up(config.precision)
        self.model = make_model(config, len(corpus.vocabulary)).to(self.device)
        self.optimizer = optimizers.make(config, self.model)
        self._batch = batch or WholeBatch()
        self.learner = Learner(config, self.model, self.optimizer, corpus.train, self._batch)
        self.instruments: Instruments = Instruments(self.model, self.learner.gradients, self.optimizer)
        self.norms: NDArray[np.float32] = np.zeros(LOOK_BACK, dtype=np.float32)
        """The newest gradient norms, oldest first, padded with 0; the automatic clip is derived from them."""
        self.cursor: Cursor = make_cursor(config, corpus.split)
        self.schedule: Schedule = Schedule(config, self.cursor.batches_per_epoch, knobs.steps)
        self.progress: Progress = Progress()
        self.remarks: list[str] = []
        self.ranks: list[str] = []
        """Where each of several processes computes, in words; empty if this one trains alone."""
        self.graph: str = "eager"
        """How steps run: `captured` as a CUDA graph, or `eager`, with the reason if a graph was tried."""
        self.make_room: Callable[[int], bool] = lambda bytes: False
        """Called to free memory for a copy of this many bytes; returns whether it freed any."""
        self._frozen: Snapshot | None = None

    @property
    def steps_per_epoch(self) -> int:
        return self.cursor.batches_per_epoch

    @property
    def rows(self) -> Rows:
        """The numbers of the last steps."""
        return self.learner.rows

    @property
    def groups(self) -> list[str]:
        """The parameter groups that norms are reported for."""
        return self.learner.gradients.names

    @property
    def graph_missing(self) -> bool:
        """Whether `--graph on` was given and there is no graph."""
        return self.config.graph == "on" and not self.captured

    @property
    def lr_in_force(self) -> float:
        """The rate of the next step: the knob times the schedule."""
        return self.knobs.lr * self.schedule.factor(self.progress.step + 1, self.knobs.steps)

    def capture(self, record: graphs.Recorder | None = None) -> None:
        """On a GPU, capture the step as a CUDA graph and verify it; on failure stay eager and add a remark.

        The state of the run is restored afterwards. `record` replaces the GPU's recorder.
        """
        if self.config.graph == "off" or (record is None and self.device.type != "cuda"):
            return
        before = None
        try:
            before = self.freeze()
            self._prove_graph(record or graphs.record, before)
        except (RuntimeError, NoRoom) as error:
            words = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._stay_eager("a small model may take twice as long", f"it could not be captured ({words})")
        finally:
            if before is not None:
                self.thaw(before)
            self.learner.forget()
            self.instruments.forget()

    @property
    def captured(self) -> bool:
        """Whether steps are replays of a CUDA graph."""
        return self.learner.replay is not None

    def _prove_graph(self, record: graphs.Recorder, before: Snapshot) -> None:
        def replayed() -> graphs.Outcome:
            if self.learner.replay is None:
                self.learner.capture(record)
            return self._compared_steps(before)

        with graphs.without_dropout(self.learner.forward.module):
            proof = graphs.prove(lambda: self._compared_steps(before), replayed)
        if not proof.trusted:
            self._stay_eager(f"they take {proof.gain:.2g} times as long",
                             f"its numbers were off by {proof.off:.1e} relatively in {graphs.COMPARED} steps")
            return
        if self.config.dropout:
            # From here on only replays run in train mode: eager dropout would change cuDNN's state under the graph.
            self.learner.capture(record)
        self.graph = CAPTURED
        if not proof.exact:
            self.remarks.append(f"the CUDA graph's numbers are not those of eager steps bit for bit, but within "
                                f"{proof.off:.1e} relatively")

    def _compared_steps(self, before: Snapshot) -> graphs.Outcome:
        self.thaw(before)
        self.learner.forget()
        began = time.perf_counter()
        for _ in range(graphs.COMPARED):
            self.learn()
        rows = self.learner.rows.remembered(graphs.COMPARED)  # waits for the steps
        seconds = time.perf_counter() - began
        after = self.freeze().tensors  # copies, because the next steps change the live tensors
        return graphs.Outcome(rows, {name: t for name, t in after.items() if not name.startswith("rng.")}, seconds)

    def _stay_eager(self, slower: str, why: str) -> None:
        self.learner.release()
        self.graph = f"eager: {why}"
        self.remarks.append(f"steps run eagerly, without a CUDA graph ({slower}): {why}")

    def learn(self) -> None:
        """Make one step on the next batch at the learning rate in force."""
        self._frozen = None
        step = self.progress.step + 1
        if step % EVERY == 0:
            self.instruments.before()
        self.learner.step(self.cursor.next(), self.lr_in_force, self.knobs.clip)
        if step % EVERY == 0:
            self.instruments.after(step)
        self.progress.step = step

    def absorb(self, rows: NDArray[np.float32]) -> None:
        """Fold drained rows [steps, columns] into the running statistics that snapshots carry."""
        self.norms = np.concatenate([self.norms, rows[:, 1]])[-len(self.norms) :]
        losses, finite = rows[:, 0], rows[:, 3] == 0
        for loss in losses[finite].astype(float):
            self.progress.epoch_loss += loss
            self.progress.epoch_steps += 1
        self.progress.absorb(losses, finite)

    def freeze(self) -> Snapshot:
        """Copy all state that the next steps depend on. Returns the same copy until something changes.

        Where memory is short, older copies are dropped first. If none are left, a GPU's state is copied to the host.
        Raises NoRoom if that fails, too.
        """
        if self._frozen is not None and self._frozen.values == self._values():
            return self._frozen
        self._frozen = None
        live = self.state()
        self._frozen = Snapshot(live.branch, live.step, self._copied(live), live.values, devices.event(self.device))
        return self._frozen

    def _copied(self, live: Snapshot) -> dict[str, Tensor]:
        places = [None] if self.device.type == "cpu" else [None, torch.device("cpu")]
        while True:
            try:
                return copied(live.tensors, places[0])
            except (RuntimeError, MemoryError, OSError) as error:
                if not is_out_of_memory(error):
                    raise
                words = str(error).splitlines()[0] if str(error) else "out of memory"
            if self.make_room(live.bytes):
                continue
            places.pop(0)
            if not places:
                raise NoRoom(f"no memory for a copy of the run's state ({size(live.bytes)}): {words}")

    @property
    def environment(self) -> dict[str, Any]:
        """What the run is trained on: fields of RunStarted, which also decide whether numbers are reproducible."""
        return environment.of(self.config)

    def state(self) -> Snapshot:
        """Return the live tensors and values that the next steps depend on, not copies: valid until the next step."""
        live: dict[str, Tensor] = {f"model.{name}": p.data for name, p in self.model.named_parameters()}
        live |= {f"optimizer.{name}": t for name, t in self.optimizer.tensors().items()}
        live |= {f"hidden.{name}": t for name, t in zip(self.model.cell.states, self.learner.hidden, strict=True)}
        if self.learner.forward.scale is not None:
            live |= {f"scale.{name}": t for name, t in self.learner.forward.scale.tensors().items()}
        live["diagnosis.norms"] = torch.from_numpy(self.norms)
        live["rng.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            live["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        return Snapshot(self.progress.branch, self.progress.step, live, self._values())

    def _values(self) -> dict[str, Any]:
        return {"progress": asdict(self.progress), "cursor": self.cursor.state(),
                "schedule": self.schedule.state(), "knobs": asdict(self.knobs)}

    def thaw(self, snapshot: Snapshot) -> None:
        """Restore a snapshot, knobs included. Tensors are written in place, so a captured graph stays valid."""
        self._frozen = None
        with torch.no_grad():
            weights = snapshot.part("model")
            for name, parameter in self.model.named_parameters():
                parameter.copy_(weights[name])
            self.optimizer.restore(snapshot.part("optimizer"))
            hidden = snapshot.part("hidden")
            for name, state in zip(self.model.cell.states, self.learner.hidden, strict=True):
                state.copy_(self._batch.rows(hidden[name]))
            if self.learner.forward.scale is not None:
                self.learner.forward.scale.restore(snapshot.part("scale"))
        # Clones, because torch 2.13 reads a generator's state from a wrong address if it is a view with an offset into
        # its storage, like all but the first tensor of a snapshot's block.
        rng = {name: state.clone() for name, state in snapshot.part("rng").items()}
        torch.set_rng_state(rng["cpu"])
        if self.device.type == "cuda" and "cuda" in rng:
            torch.cuda.set_rng_state(rng["cuda"], self.device)
        norms = snapshot.part("diagnosis").get("norms")  # checkpoints of older versions have none
        self.norms = np.zeros(LOOK_BACK, dtype=np.float32) if norms is None else norms.cpu().numpy().copy()
        values = snapshot.values
        self.cursor.restore(values["cursor"])
        self.schedule.restore(values["schedule"])
        self.progress = progress_of(values)
        self.knobs = knobs_of(values)

    def start_training_thread(self) -> None:
        """Apply the settings that belong to the training thread: device and number of compute threads."""
        devices.make_current(self.config.device)
        if isinstance(self.config.threads, int):
            runtime.apply(self.config.threads)
