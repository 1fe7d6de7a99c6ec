"""Others' models become ours: the same probabilities, whatever the names, and what has no place in ours is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.autopsy import made
from tuitrain.autopsy import mapping
from tuitrain.autopsy.readers import READERS
from tuitrain.autopsy.readers.reader import Adam, Stored, find
from tuitrain.charlstm.model.network import CharRNN

SHARED = next((folder / "shared" / "tflearn" for folder in (Path(__file__).parents[2], *Path(__file__).parents[3:])
               if (folder / "shared" / "tflearn" / "probabilities.npz").exists()), None)


def probabilities(fitted: mapping.Conversion, arrays: Any, ids: Any) -> Any:
    """What our model with the converted weights makes of windows [windows, time]."""
    model = fitted.model
    net = CharRNN(model.characters, cell=model.cell, layers=model.layers, hidden=model.hidden,
                  embedding=model.embedding, dropout=0.0).eval()
    net.load_state_dict({name: torch.from_numpy(array) for name, array in fitted.weights(arrays).items()})
    with torch.no_grad():
        return net(torch.from_numpy(ids), last=True)[0][:, 0].softmax(-1).numpy()


@pytest.mark.parametrize(("layers", "hidden"), [(1, 5), (3, 8), (12, 4)])
def test_a_model_of_tflearn_gives_the_same_probabilities(layers: int, hidden: int) -> None:
    variables = made.tflearn_variables(1, layers, hidden, scale=0.8)
    fitted = mapping.fit(Stored(variables))
    assert fitted.model == mapping.Model("lstm", layers, hidden, "onehot", len(made.VOCABULARY))
    ids = np.random.default_rng(0).integers(0, len(made.VOCABULARY), (50, 30))
    ours, theirs = probabilities(fitted, variables, ids), made.tflearn_probabilities(variables, ids)
    assert np.abs(ours - theirs).max() < 1e-5
    assert theirs.std(0).max() > 2e-4  # no constant guess that any order of the gates would give


@pytest.mark.skipif(SHARED is None, reason="the set of real TFLearn checkpoints is not here")
def test_real_checkpoints_of_tflearn_give_what_tflearn_gave() -> None:
    assert SHARED is not None
    given, text = np.load(SHARED / "probabilities.npz"), (SHARED / "as_loaded.txt").read_text(encoding="utf-8")
    numbers = {c: i for i, c in enumerate(sorted(set(text)))}
    ids = np.array([numbers[c] for c in text])[given["starts"][:, None] + np.arange(30)]
    listing = find(SHARED, READERS)
    assert len(listing.entries) == 12
    for entry in listing.entries:
        stored = listing.reader.read(entry)
        ours = probabilities(mapping.fit(stored), stored.arrays, ids)
        assert np.abs(ours - given[f"p{entry.step}"]).max() < 1e-5


def test_the_mapping_is_told_and_adams_moments_go_the_same_way() -> None:
    variables = made.tflearn_variables(1, 1, 4, 6)
    fitted = mapping.fit(Stored(variables))
    matrix = "LSTM/LSTM/BasicLSTMCell/Linear/Matrix"
    assert fitted.table()[0] == (matrix, "lstm.weight_ih_l0, lstm.weight_hh_l0",
                                 "gates i, j, f, o put into the order i, f, g, o")
    first = {name: variables[f"{name}/Adam"] for name in variables if f"{name}/Adam" in variables}
    moments = fitted.moments(Adam(first, first, 7))
    assert moments is not None
    # The forget bias is of the weights alone: in the moments nothing is added.
    assert np.allclose(moments[0]["lstm.bias_ih_l0"][4:8], first["LSTM/LSTM/BasicLSTMCell/Linear/Bias"][8:12])
    assert np.allclose(moments[0]["lstm.weight_hh_l0"][8:12], first[matrix][6:, 4:8].T)
    assert fitted.moments(Adam({}, {}, 7)) is None


def test_state_dicts_by_any_name_give_the_same_probabilities() -> None:
    torch.manual_seed(3)

    class Net(torch.nn.Module):
        def __init__(self, embedding: int, rnn: Any, kind: str) -> None:
            super().__init__()
            if embedding:
                self.encoder = torch.nn.Embedding(20, embedding)
            setattr(self, kind, rnn)
            self.decoder = torch.nn.Linear(7, 20)

    ids = np.random.default_rng(0).integers(0, 20, (6, 9))
    for embedding, kind in ((0, torch.nn.LSTM), (4, torch.nn.LSTM), (7, torch.nn.GRU), (20, torch.nn.LSTM)):
        rnn = kind(embedding or 20, 7, 2, batch_first=True)
        net = Net(embedding, rnn, "rnn")
        arrays = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
        fitted = mapping.fit(Stored(arrays))
        x = net.encoder(torch.from_numpy(ids)) if embedding else torch.eye(20)[torch.from_numpy(ids)]
        with torch.no_grad():
            theirs = net.decoder(rnn(x)[0][:, -1]).softmax(-1).numpy()
        assert np.abs(probabilities(fitted, arrays, ids) - theirs).max() < 1e-6


def test_cells_of_their_own_modules_are_layers() -> None:
    cells = torch.nn.ModuleList([torch.nn.LSTMCell(9, 5), torch.nn.LSTMCell(5, 5)])
    head = torch.nn.Linear(5, 9, bias=False)
    arrays = {f"cells.{name}": tensor.numpy() for name, tensor in cells.state_dict().items()}
    fitted = mapping.fit(Stored(arrays | {"out.weight": head.weight.detach().numpy()}))
    assert fitted.model == mapping.Model("lstm", 2, 5, "onehot", 9)
    assert not fitted.weights(arrays | {"out.weight": head.weight.detach().numpy()})["head.bias"].any()


@pytest.mark.parametrize(("rnn", "more", "words"), [
    (torch.nn.LSTM(6, 5, bidirectional=True), {}, "is bidirectional"),
    (torch.nn.LSTM(6, 5, proj_size=3), {}, "projects"),
    (torch.nn.LSTM(6, 5), {"norm.weight": np.ones(5, np.float32)}, "norm.weight, for which our model has no place"),
    (torch.nn.LSTM(4, 5), {}, "neither one-hot"),
    (torch.nn.LSTM(6, 5), {"other.weight": np.ones((9, 5), np.float32), "other.bias": np.ones(9, np.float32)},
     "2 layers that could be it"),
    (torch.nn.RNN(6, 5), {}, "are of no cell that is known"),
    (torch.nn.Linear(3, 3), {}, "no recurrent layer"),
])
def test_what_has_no_place_in_our_model_is_refused(rnn: Any, more: dict[str, Any], words: str) -> None:
    head = {"fc.weight": np.ones((6, 5), np.float32), "fc.bias": np.ones(6, np.float32)}
    arrays = {f"rnn.{name}": tensor.numpy() for name, tensor in rnn.state_dict().items()}
    with pytest.raises(mapping.Unfit, match=words):
        mapping.fit(Stored(arrays | head | more))


def test_whole_numbers_are_no_weights() -> None:
    variables = made.tflearn_variables(1, 1, 4, 6)
    variables["FullyConnected/W"] = variables["FullyConnected/W"].astype(np.int32)
    fitted = mapping.fit(Stored(variables))
    with pytest.raises(mapping.Unfit, match="int32"):
        fitted.weights(variables)
