"""CharRNN: embedding, recurrent layers and head. Knows nothing of text, batches or optimizers."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tuitrain.charlstm.model.cells import CELLS

Hidden = tuple[Tensor, ...]
"""The states that the cell carries, each [layers, batch, hidden]."""


class CharRNN(nn.Module):
    """Maps ids [batch, time] to logits [batch, time, characters] with torch's layers (oneDNN, cuDNN) of a cell."""

    def __init__(self, characters: int, *, cell: str, layers: int, hidden: int, embedding: int | str, dropout: float,
                 init: str = "orthogonal") -> None:
        super().__init__()
        self.cell = CELLS[cell]
        self.embedding: nn.Embedding | None = None
        self.eye: Tensor
        if embedding == "onehot":
            self.register_buffer("eye", torch.eye(characters), persistent=False)
            inputs = characters
        else:
            inputs = int(embedding)
            self.embedding = nn.Embedding(characters, inputs)
        # Under the name of the cell, which the names of its parameters in checkpoints begin with.
        self.add_module(cell, self.cell.module(inputs, hidden, layers, batch_first=True,
                                               dropout=dropout if layers > 1 else 0.0))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, characters)
        self._initialise(init)

    @property
    def rnn(self) -> nn.RNNBase:
        """The recurrent layers."""
        layers = self.get_submodule(self.cell.name)
        assert isinstance(layers, nn.RNNBase)
        return layers

    def forward(self, ids: Tensor, hidden: Hidden | None = None, *, last: bool = False) -> tuple[Tensor, Hidden]:
        """Return the logits, only of the last position ([batch, 1, characters]) if `last`, and the new hidden state."""
        table = self.eye if self.embedding is None else self.embedding.weight
        # torch passes a single state without a tuple.
        given = hidden[0] if hidden is not None and len(hidden) == 1 else hidden
        out, after = self.rnn(F.embedding(ids, table).to(self.head.weight.dtype), given)
        if last:
            out = out[:, -1:]
        return self.head(self.dropout(out)), after if isinstance(after, tuple) else (after,)

    def groups(self) -> Iterator[tuple[str, list[nn.Parameter]]]:
        """Yield the parameter groups that norms are reported for, bottom up."""
        if self.embedding is not None:
            yield "embedding", [_parameter(self.embedding.weight)]
        for layer in range(self.rnn.num_layers):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            yield f"layer {layer + 1}", [getattr(self.rnn, f"{name}_l{layer}") for name in names]
        yield "head", [_parameter(self.head.weight), _parameter(self.head.bias)]

    def _initialise(self, init: str) -> None:
        hidden = self.rnn.hidden_size
        with torch.no_grad():
            if init == "uniform":  # char-rnn
                for every in self.parameters():
                    every.uniform_(-0.08, 0.08)
            else:
                for name, parameter in self.rnn.named_parameters():
                    if name.startswith("weight_hh"):
                        for gate in parameter.split(hidden):
                            nn.init.orthogonal_(gate)
                    elif name.startswith("weight_ih"):
                        nn.init.xavier_uniform_(parameter)
                if self.embedding is not None:
                    nn.init.normal_(self.embedding.weight, std=0.5)
                nn.init.xavier_uniform_(self.head.weight)
                nn.init.zeros_(self.head.bias)
            # An open gate lets gradients through from the first step. torch adds two biases.
            rows = self.cell.rows_of(self.cell.remembers, hidden)
            for name, parameter in self.rnn.named_parameters():
                if name.startswith("bias"):
                    if init != "uniform":
                        parameter.zero_()
                    parameter[rows] = 1.0 if name.startswith("bias_ih") else 0.0


def _parameter(tensor: Tensor) -> nn.Parameter:
    assert isinstance(tensor, nn.Parameter)
    return tensor
