"""Readers of others' checkpoints: what they read, what they refuse, and that damage is told and never a traceback."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.autopsy import made
from tuitrain.autopsy.readers import READERS, crc32c, vocabulary
from tuitrain.autopsy.readers.reader import Unreadable, find, look, natural, number_in
from tuitrain.autopsy.readers.tensorflow import index
from tuitrain.errors import RunError, TuitrainError
from tuitrain.run import checkpoints

DAMAGED = int(os.environ.get("TUITRAIN_DAMAGED_FILES", "60"))
"""Damaged files per reader; `TUITRAIN_DAMAGED_FILES=1000 pytest tests/autopsy` is the long form."""


def read_all(folder: Path) -> list[Any]:
    listing = find(folder, READERS)
    return [listing.reader.read(entry) for entry in listing.entries]


def test_checksums_are_those_of_castagnoli() -> None:
    assert crc32c.checksum(b"123456789") == 0xE3069283
    assert crc32c.checksum(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    data = np.random.default_rng(0).bytes(5000)
    whole = 0xFFFFFFFF
    for byte in data:
        whole ^= byte
        for _ in range(8):
            whole = whole >> 1 ^ (crc32c.POLYNOMIAL if whole & 1 else 0)
    assert crc32c.checksum(data) == whole ^ 0xFFFFFFFF


def test_tensorflows_variables_are_read_with_adams_moments(tmp_path: Path) -> None:
    made.tflearn_set(tmp_path, 11)
    listing = find(tmp_path, READERS)
    assert listing.reader.title == "TensorFlow" and not listing.remarks
    assert [entry.step for entry in listing.entries] == [71 * i for i in range(1, 12)]
    variables = made.tflearn_variables(3, step=71 * 4)
    stored = listing.reader.read(listing.entries[3])
    assert set(stored.arrays) == set(variables)
    for name, array in variables.items():
        assert np.array_equal(stored.arrays[name], array)
    assert stored.step == 284 and stored.adam is not None and stored.adam.steps == 284
    name = "LSTM_1/LSTM_1/BasicLSTMCell/Linear/Matrix"
    assert np.array_equal(stored.adam.first[name], variables[f"{name}/Adam"])
    assert np.array_equal(stored.adam.second[name], variables[f"{name}/Adam_1"])


def test_adams_steps_are_known_from_its_power_where_nothing_counts_them(tmp_path: Path) -> None:
    variables = {name: array for name, array in made.tflearn_variables(0, step=500).items() if "tep" not in name}
    made.bundle(tmp_path / "model", variables)
    stored = read_all(tmp_path)[0]
    assert stored.step is None and stored.adam.steps == 500


def test_a_data_file_that_is_cut_off_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    made.tflearn_set(tmp_path, 3)
    broken = tmp_path / "model_checkpoint_v3-142.data-00000-of-00001"
    broken.write_bytes(broken.read_bytes()[:1000])
    listing = find(tmp_path, READERS)
    with pytest.raises(Unreadable, match=r"142\.data-00000-of-00001 is cut off: .* of 1,000"):
        listing.reader.read(listing.entries[1])
    assert listing.reader.read(listing.entries[2]).step == 213


def test_an_index_that_points_outside_its_file_is_refused(tmp_path: Path) -> None:
    entry = made.field(1, 1) + made.field(2, made.field(2, made.field(1, 4))) + made.field(4, 10**9) + made.field(5, 16)
    Path(tmp_path / "m-1.index").write_bytes(made.table_of([(b"", made.field(1, 1)), (b"w", entry)]))
    Path(tmp_path / "m-1.data-00000-of-00001").write_bytes(bytes(16))
    with pytest.raises(Unreadable, match="is cut off: w ends at byte 1,000,000,016 of 16"):
        read_all(tmp_path)
    huge = made.field(1, 1) + made.field(2, made.field(2, made.field(1, 1 << 60))) + made.field(5, 1 << 61)
    Path(tmp_path / "m-1.index").write_bytes(made.table_of([(b"", made.field(1, 1)), (b"w", huge)]))
    with pytest.raises(Unreadable, match="is not what its shape"):
        read_all(tmp_path)


def test_an_index_without_its_data_and_one_of_another_name_are_remarks(tmp_path: Path) -> None:
    made.tflearn_set(tmp_path, 2)
    (tmp_path / "model_checkpoint_v3-71.data-00000-of-00001").unlink()
    (tmp_path / "copy").write_bytes((tmp_path / "model_checkpoint_v3-71.index").read_bytes())
    listing = find(tmp_path, READERS)
    assert len(listing.entries) == 1
    assert any("model_checkpoint_v3-71.data-… is missing" in remark for remark in listing.remarks)
    assert any("has to end in .index" in remark for remark in listing.remarks)


def nested(weights: Any) -> dict[str, Any]:
    return {"model_state_dict": weights, "step": 300, "char_to_idx": {c: i for i, c in enumerate(made.VOCABULARY)},
            "args": {"lr": 0.01}}


class Net(torch.nn.Module):
    """As people write it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(len(made.VOCABULARY), 5)
        self.rnn = torch.nn.LSTM(5, 6, 2, batch_first=True)
        self.fc = torch.nn.Linear(6, len(made.VOCABULARY))


@pytest.mark.parametrize("write", [
    lambda net, path: torch.save(net.state_dict(), path / "epoch_3.pt"),
    lambda net, path: torch.save(nested(net.state_dict()), path / "3.pth"),
    lambda net, path: torch.save({"net": {f"module.{k}": v for k, v in net.state_dict().items()}}, path / "m3.bin"),
    lambda net, path: torch.save(net.state_dict(), path / "old3.pt", _use_new_zipfile_serialization=False),
    lambda net, path: save_file(net.state_dict(), path / "model-3.safetensors"),
])
def test_state_dicts_are_read_bare_nested_and_as_safetensors(tmp_path: Path,
                                                             write: Callable[[Any, Path], None]) -> None:
    net = Net()
    write(net, tmp_path)
    (stored,) = read_all(tmp_path)
    assert set(stored.arrays) == set(net.state_dict())
    for name, tensor in net.state_dict().items():
        assert np.array_equal(stored.arrays[name], tensor.numpy())
    assert stored.step in (3, 300)
    if stored.step == 300:
        assert stored.vocabulary == made.VOCABULARY


def test_adams_moments_of_a_state_dict_go_by_the_order_of_the_parameters(tmp_path: Path) -> None:
    net = Net()
    adam = torch.optim.Adam(net.parameters(), 0.01, (0.8, 0.99))
    for _ in range(3):
        out, _ = net.rnn(net.embed(torch.randint(0, 9, (2, 4))))
        net.fc(out).logsumexp(-1).sum().backward()
        adam.step()
    torch.save({"model": net.state_dict(), "optimizer": adam.state_dict(), "iteration": 3}, tmp_path / "a.pt")
    (stored,) = read_all(tmp_path)
    assert stored.adam is not None and (stored.adam.steps, stored.adam.betas, stored.adam.lr) == (3, (0.8, 0.99), 0.01)
    for name, parameter in net.named_parameters():
        assert np.array_equal(stored.adam.second[name], adam.state[parameter]["exp_avg_sq"].numpy())


class Evil:
    """A pickle that would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_nothing_is_ever_run(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    torch.save({"model": Net().state_dict(), "x": Evil(mark)}, tmp_path / "m.pt")
    with pytest.raises(Unreadable, match="would have to be run"):
        read_all(tmp_path)
    with pytest.raises(Unreadable, match="which a dict of characters to numbers has not"):
        vocabulary.unpickled(pickle.dumps(Evil(mark)))
    with pytest.raises(Unreadable, match="instruction"):
        vocabulary.unpickled(pickle.dumps({"a": 0, "b": Evil(mark)}))
    assert not mark.exists()


@pytest.mark.parametrize("protocol", range(5))
def test_a_pickled_vocabulary_of_any_protocol_is_read(protocol: int) -> None:
    text = "\n abcé—😀" + "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    assert vocabulary.unpickled(pickle.dumps({c: i for i, c in enumerate(text)}, protocol)) == text


@pytest.mark.parametrize("wrong", [{"a": 0, "b": 2}, {"ab": 0, "c": 1}, {"a": 0, "b": "c"}, {"a": 0, 1: 1}, ["a", "b"],
                                   {"a": 0, "b": {"c": 1}}, {"a": 0, "b": True}, {"a": 0, "b": 1.0}, {}, "ab",
                                   OrderedDict(a=0, b=1)])
def test_another_pickle_is_no_vocabulary(wrong: Any) -> None:
    with pytest.raises(Unreadable):
        vocabulary.unpickled(pickle.dumps(wrong))


def test_two_vocabularies_in_one_folder_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.pi").write_bytes(pickle.dumps({"a": 0, "b": 1}))
    assert vocabulary.beside(look(tmp_path)[0]) == ("ab", [])
    (tmp_path / "chars.json").write_text('{"b": 0, "a": 1}')
    found, remarks = vocabulary.beside(look(tmp_path)[0])
    assert found is None and "different vocabularies" in remarks[0]


def test_a_folder_without_checkpoints_says_what_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no checkpoints; name a run, or a folder of"):
        find(tmp_path, READERS)
    (tmp_path / "epochs").mkdir()
    with pytest.raises(RunError, match=r"name one of the folders in it \(epochs\)"):
        find(tmp_path, READERS)
    (tmp_path / "lm.t7").write_bytes(b"\x04\0\0\0")
    with pytest.raises(RunError, match=r"the \.t7 files of torch-rnn and char-rnn are not read"):
        find(tmp_path, READERS)
    with pytest.raises(RunError, match="No such file"):
        find(tmp_path / "nowhere", READERS)


def test_of_a_mixture_the_most_are_read_and_the_rest_is_told(tmp_path: Path) -> None:
    made.tflearn_set(tmp_path, 3)
    torch.save(Net().state_dict(), tmp_path / "other.pt")
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    (tmp_path / "gone.pt").symlink_to(tmp_path / "nowhere")
    listing = find(tmp_path, READERS)
    assert listing.reader.title == "TensorFlow" and len(listing.entries) == 3
    assert any(remark.startswith("1 of PyTorch are left out") for remark in listing.remarks)
    assert any("broken.pt is not what its name says" in remark for remark in listing.remarks)


def test_names_are_in_the_order_of_their_numbers() -> None:
    assert sorted(["m-10", "m-9", "m-100"], key=natural) == ["m-9", "m-10", "m-100"]
    assert [number_in(name) for name in ("model_v3-1562", "epoch_07", "lm_epoch24_1.33", "best", "step=500")] == [
        1562, 7, 24, None, 500]


def test_runs_of_our_own_are_read_with_their_moments(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ["lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0", "head.weight", "head.bias"]
    tensors = {f"model.{name}": rng.standard_normal(i + 2).astype(np.float32) for i, name in enumerate(names)}
    for i in range(len(names)):
        tensors |= {f"optimizer.0.{i}.exp_avg": np.full(i + 2, i, np.float32), f"optimizer.0.{i}.step": np.float32(9),
                    f"optimizer.0.{i}.exp_avg_sq": np.full(i + 2, 10 * i, np.float32)}
    checkpoints.save(tmp_path, tensors, branch=0, step=9, reason="interval", pinned=False, values={})
    (stored,) = read_all(tmp_path)
    assert set(stored.arrays) == set(names) and stored.step == 9 and stored.adam is not None
    assert stored.adam.steps == 9
    assert [float(stored.adam.second[name][0]) for name in names] == [0, 10, 20, 30, 40, 50]


def damages(data: bytes, seed: int) -> bytes:
    """Damage as disks and lines make it: flipped bits, stretches of zeros or noise, what is cut off or put in."""
    rng = np.random.default_rng(seed)
    out = bytearray(data)
    where = int(rng.integers(len(out)))
    match seed % 5:
        case 0:
            out[where] ^= 1 << int(rng.integers(8))
        case 1:
            out[where : where + 64] = rng.bytes(min(64, len(out) - where))
        case 2:
            del out[where:]
        case 3:
            out[where:where] = rng.bytes(int(rng.integers(1, 9)))
        case 4:
            out[where : where + 512] = bytes(min(512, len(out) - where))
    return bytes(out)


def plant_tensorflow(folder: Path) -> list[Path]:
    made.bundle(folder / "m-1", made.tflearn_variables(0, 1, 4, 6))
    return [folder / "m-1.index", folder / "m-1.data-00000-of-00001"]


def plant_pytorch(folder: Path) -> list[Path]:
    torch.save(nested(Net().state_dict()), folder / "m-1.pt")
    return [folder / "m-1.pt"]


def plant_own(folder: Path) -> list[Path]:
    tensors = {"model.head.bias": np.arange(300, dtype=np.float32)}
    checkpoints.save(folder, tensors, branch=0, step=9, reason="interval", pinned=False, values={}, run="0" * 16)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("plant", [plant_tensorflow, plant_pytorch, plant_own])
def test_damaged_files_are_refused_or_read_as_they_were(tmp_path: Path, plant: Callable[[Path], list[Path]]) -> None:
    """Each of these formats has checksums: a damaged file is told, or its arrays are what was written."""
    files = plant(tmp_path)
    (whole,) = read_all(tmp_path)
    refused = []
    for seed in range(DAMAGED):
        file = files[seed % len(files)]
        data = file.read_bytes()
        file.write_bytes(damages(data, seed))
        try:
            stored = read_all(tmp_path)
        except TuitrainError as error:
            refused.append(str(error))
        else:
            for each in stored:
                assert set(each.arrays) == set(whole.arrays), seed
                assert all(np.array_equal(each.arrays[name], whole.arrays[name]) for name in whole.arrays), seed
                assert each.vocabulary == whole.vocabulary
        file.write_bytes(data)
    assert len(refused) > DAMAGED // 3
    assert not any("\n" in words for words in refused)


def test_damaged_safetensors_are_refused_or_damaged_in_their_numbers_alone(tmp_path: Path) -> None:
    """The format has no checksum: what is in the header or the length is found, a number that changed cannot be."""
    file = tmp_path / "m-1.safetensors"
    save_file(Net().state_dict(), file)
    data = file.read_bytes()
    (whole,) = read_all(tmp_path)
    for seed in range(DAMAGED):
        file.write_bytes(damages(data, seed))
        try:
            stored = read_all(tmp_path)
        except TuitrainError:
            continue
        for each in stored:
            if set(each.arrays) == set(whole.arrays):  # a name that changed is for the mapping to find
                assert {n: a.shape for n, a in each.arrays.items()} == {n: a.shape for n, a in whole.arrays.items()}


def test_damaged_vocabularies_are_refused_or_vocabularies() -> None:
    data = pickle.dumps({c: i for i, c in enumerate(made.VOCABULARY)})
    for seed in range(DAMAGED):
        try:
            found = vocabulary.unpickled(damages(data, seed))
        except Unreadable:
            continue
        assert len(found) == len(set(found)) >= 2


def test_a_record_of_a_zip_that_torch_would_read_wrong_is_found(tmp_path: Path) -> None:
    torch.save(Net().state_dict(), tmp_path / "m.pt")
    with zipfile.ZipFile(io.BytesIO((tmp_path / "m.pt").read_bytes())) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data/1"))
        record = archive.read(name)
    data = (tmp_path / "m.pt").read_bytes()
    at = data.index(record)
    (tmp_path / "m.pt").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(Unreadable, match="does not match its checksum"):
        read_all(tmp_path)


def test_an_index_has_the_places_of_all_its_variables(tmp_path: Path) -> None:
    made.bundle(tmp_path / "m-1", made.tflearn_variables(0))
    shards, places = index(tmp_path / "m-1.index")
    assert shards == 1 and places["FullyConnected/W"].shape == (8, len(made.VOCABULARY))
