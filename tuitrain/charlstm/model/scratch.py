"""A second model of the same shape to evaluate frozen weights with. Knows nothing of what it is used for."""

import copy

import torch

from tuitrain.charlstm.model.network import CharRNN
from tuitrain.engine.snapshot import Snapshot


class Scratch:
    """Owns the second model, without dropout and without gradients.

    Weights are copied into it, not replaced: cuDNN needs the weights of its layers in one block, and would copy them
    into one at each call if they were elsewhere.
    """

    def __init__(self, model: CharRNN) -> None:
        # A copy, because a new model would draw initial weights from the generator that dropout uses.
        self._model = copy.deepcopy(model).eval().requires_grad_(False)
        self._model.rnn.flatten_parameters()
        self._holds: Snapshot | None = None

    @torch.no_grad()
    def load(self, snapshot: Snapshot) -> CharRNN:
        """Return the model with the weights of a snapshot; valid until another one is loaded."""
        if self._holds is not snapshot:
            weights = snapshot.part("model")
            for name, parameter in self._model.named_parameters():
                parameter.copy_(weights[name])
            self._holds = snapshot
        return self._model

    def release(self) -> None:
        """Drop the reference to the snapshot, so that its memory can be reused."""
        self._holds = None
