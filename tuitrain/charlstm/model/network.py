"""CharLSTM: embedding, LSTM layers, head. Knows nothing of text, batches or optimizers."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Hidden = tuple[Tensor, Tensor]
"""(h, c), each [layers, batch, hidden]."""


class CharLSTM(nn.Module):
    """ids [batch, time] -> logits [batch, time, characters], through `nn.LSTM` (oneDNN, cuDNN)."""

    def __init__(self, characters: int, *, layers: int, hidden: int, embedding: int | str, dropout: float,
                 init: str = "orthogonal") -> None:
        super().__init__()
        self.embedding: nn.Embedding | None = None
        self.eye: Tensor
        if embedding == "onehot":
            self.register_buffer("eye", torch.eye(characters), persistent=False)
            inputs = characters
        else:
            inputs = int(embedding)
            self.embedding = nn.Embedding(characters, inputs)
        self.lstm = nn.LSTM(inputs, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, characters)
        self._initialise(init)

    def forward(self, ids: Tensor, hidden: Hidden | None = None, *, last: bool = False) -> tuple[Tensor, Hidden]:
        """Logits, of the last position alone ([batch, 1, characters]) if `last`, and the hidden state after."""
        table = self.eye if self.embedding is None else self.embedding.weight
        out, hidden = self.lstm(F.embedding(ids, table).to(self.head.weight.dtype), hidden)
        if last:
            out = out[:, -1:]
        return self.head(self.dropout(out)), hidden

    def groups(self) -> Iterator[tuple[str, list[nn.Parameter]]]:
        """The parameter groups that norms are reported for, bottom up."""
        if self.embedding is not None:
            yield "embedding", [_parameter(self.embedding.weight)]
        for layer in range(self.lstm.num_layers):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            yield f"layer {layer + 1}", [getattr(self.lstm, f"{name}_l{layer}") for name in names]
        yield "head", [_parameter(self.head.weight), _parameter(self.head.bias)]

    def _initialise(self, init: str) -> None:
        gates = self.lstm.hidden_size
        with torch.no_grad():
            if init == "uniform":  # char-rnn
                for every in self.parameters():
                    every.uniform_(-0.08, 0.08)
            else:
                for name, parameter in self.lstm.named_parameters():
                    if name.startswith("weight_hh"):
                        for gate in parameter.split(gates):
                            nn.init.orthogonal_(gate)
                    elif name.startswith("weight_ih"):
                        nn.init.xavier_uniform_(parameter)
                if self.embedding is not None:
                    nn.init.normal_(self.embedding.weight, std=0.5)
                nn.init.xavier_uniform_(self.head.weight)
                nn.init.zeros_(self.head.bias)
            # A forget gate that starts open lets gradients through from the first step. torch adds two biases.
            for name, parameter in self.lstm.named_parameters():
                if name.startswith("bias"):
                    if init != "uniform":
                        parameter.zero_()
                    parameter[gates : 2 * gates] = 1.0 if name.startswith("bias_ih") else 0.0


def _parameter(tensor: Tensor) -> nn.Parameter:
    assert isinstance(tensor, nn.Parameter)
    return tensor
