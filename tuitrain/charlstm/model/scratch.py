"""A second model of the same kind that frozen weights are read with. Knows nothing of what is asked of it."""

import copy

import torch

from tuitrain.charlstm.model.network import CharRNN
from tuitrain.engine.snapshot import Snapshot


class Scratch:
    """Owns the second model, without dropout and without gradients.

    Weights are copied into it, never put in their place: cuDNN wants the weights of its layers in one block, and each
    call would copy them into one if they lay elsewhere.
    """

    def __init__(self, model: CharRNN) -> None:
        # A copy, because a new model would draw initial weights from the generator that dropout reads.
        self._model = copy.deepcopy(model).eval().requires_grad_(False)
        self._model.rnn.flatten_parameters()
        self._holds: Snapshot | None = None

    @torch.no_grad()
    def load(self, snapshot: Snapshot) -> CharRNN:
        """The model with the weights of a snapshot; valid until another one is loaded."""
        if self._holds is not snapshot:
            weights = snapshot.part("model")
            for name, parameter in self._model.named_parameters():
                parameter.copy_(weights[name])
            self._holds = snapshot
        return self._model

    def let_go(self) -> None:
        """Hold no snapshot any longer, so that its memory can be used again."""
        self._holds = None
