"""Writes the black box of an onset: the text that was being read, and the numbers of the last steps."""

import json

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.model.scratch import Scratch
from tuitrain.charlstm.text.corpus import decode
from tuitrain.engine.reporter import COLUMNS
from tuitrain.engine.snapshot import Snapshot
from tuitrain.protocol.codec import plain
from tuitrain.protocol.findings import BlackBoxKept
from tuitrain.run.folder import Folder

FOLDER = "blackbox"
ROWS = 500
STREAMS = 3
REPLAYED = 4
"""Number of batches that are evaluated again with older weights."""
AROUND = (5, 20)
"""Steps before and after the onset that are searched for the text."""


def keep(machine: Machine, home: Folder, onset: int, before: Snapshot | None, id: str = "",
         by: str = "") -> BlackBoxKept:
    """Write `blackbox/b<branch>-s<step>.json` into the run folder and return the event that summarises it.

    `onset` may lie up to a ring of steps back. Raises OSError or RunError if it cannot be written.
    """
    learner, progress = machine.learner, machine.progress
    rows = learner.rows.remembered(ROWS)
    losses, offsets = learner.remembered_streams(len(rows))
    first = progress.step - len(rows) + 1
    begin, end = (int(np.clip(onset - first + shift, 0, len(rows))) for shift in (-AROUND[0], AROUND[1]))
    streams = []
    near = losses[begin:end]
    order = np.argsort(np.where(np.isfinite(near), near, np.inf), axis=None)[::-1]
    seen: set[int] = set()
    for flat in order:
        row, stream = np.unravel_index(flat, near.shape)
        if int(stream) in seen:
            continue
        seen.add(int(stream))
        offset = int(offsets[begin + row][stream])
        text = decode(machine.corpus.train[offset : offset + machine.config.bptt + 1], machine.corpus.vocabulary)
        streams.append({"step": first + begin + int(row), "stream": int(stream), "offset": offset,
                        "loss": round(float(near[row, stream]), 4), "text": text})
        if len(streams) == STREAMS:
            break
    replayed = _replayed(machine, before, offsets, first, onset) if before is not None else {}
    names = learner.gradients.names
    norms = rows[begin:end, len(COLUMNS) :].astype(float)
    squares = np.nan_to_num(norms, nan=0.0, posinf=1e30).clip(max=1e30) ** 2
    shares = squares.sum(0) / max(squares.sum(), 1e-30)
    name = f"b{progress.branch}-s{progress.step}.json"
    written = {"branch": progress.branch, "onset": onset, "first_step": first, "columns": [*COLUMNS, *names],
               "rows": plain([[float(f"{v:.5g}") for v in row] for row in rows]), "streams": plain(streams),
               "replayed": plain(replayed)}
    with home.inner(FOLDER) as folder:
        folder.replace(name, json.dumps(written).encode(), "blackbox")
    return BlackBoxKept(branch=progress.branch, step=progress.step, onset=onset, path=f"{FOLDER}/{name}",
                        streams=tuple(streams), replayed=replayed, id=id, by=by,
                        shares={name: round(float(s), 4) for name, s in zip(names, shares, strict=True)})


@torch.no_grad()
def _replayed(machine: Machine, before: Snapshot, offsets: list[NDArray[np.int64]], first: int,
              onset: int) -> dict[str, float]:
    """Return the losses of older weights on the batches before the onset and on those at it.

    They tell a change of the text from a change of the weights.
    """
    model = Scratch(machine.model).load(before)
    text, time = machine.learner._ids, machine.learner._time
    found = {}
    for name, begin in (("usual", onset - 60), ("onset", onset + 2)):
        losses = []
        for i in range(begin - first, begin - first + REPLAYED):
            if not 0 <= i < len(offsets):
                continue
            where = torch.from_numpy(offsets[i]).to(text.device).unsqueeze(1) + time
            logits, _ = model(text[where].long())
            targets = text[where + 1].long()
            # Only the second half counts: without a carried state the first characters are guesses.
            half = logits.shape[1] // 2
            losses.append(F.cross_entropy(logits[:, half:].flatten(0, 1).float(), targets[:, half:].flatten()))
        if losses:
            found[name] = round(float(torch.stack(losses).mean()), 4)
    return found
