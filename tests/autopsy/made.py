"""Makes checkpoints as others write them, without them: TensorFlow's bundles, TFLearn's model in numpy, state dicts."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tuitrain.autopsy.readers import crc32c, table

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bool": 10}
TEXT = "It was a dark night, and the sea was high; the wind (as it does there) blew from the north.\n" * 40
VOCABULARY = "".join(sorted(set(TEXT)))


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def block(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """A block whose keys share what they can with the one before."""
    out, before = b"", b""
    for key, value in pairs:
        shared = next((i for i, (a, b) in enumerate(zip(key, before, strict=False)) if a != b),
                      min(len(key), len(before)))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    out += bytes(4) + (1).to_bytes(4, "little")
    return out


def table_of(pairs: list[tuple[bytes, bytes]], per_block: int = 7) -> bytes:
    out = b""

    def put(pairs: list[tuple[bytes, bytes]]) -> bytes:
        nonlocal out
        made = block(pairs)
        place = varint(len(out)) + varint(len(made))
        out += made + b"\0" + crc32c.masked(made + b"\0").to_bytes(4, "little")
        return place

    chunks = [pairs[i : i + per_block] for i in range(0, len(pairs), per_block)]
    index = [(chunk[-1][0], put(chunk)) for chunk in chunks]
    footer = put([]) + put(index)
    return out + footer.ljust(table.FOOTER - len(table.MAGIC), b"\0") + table.MAGIC


def bundle(prefix: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    """Write arrays as TensorFlow's BundleWriter does."""
    data, pairs = b"", [(b"", field(1, 1) + field(3, field(1, 1)))]
    for name, array in sorted(arrays.items()):
        raw = array.tobytes()
        shape = b"".join(field(2, field(1, size)) for size in array.shape)
        entry = field(1, DTYPES[array.dtype.name]) + field(2, shape)
        entry += (field(4, len(data)) if data else b"") + field(5, len(raw))
        entry += bytes([6 << 3 | 5]) + crc32c.masked(raw).to_bytes(4, "little")
        pairs.append((name.encode(), entry))
        data += raw
    Path(f"{prefix}.index").write_bytes(table_of(pairs))
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)


def tflearn_variables(seed: int, layers: int = 2, hidden: int = 8, characters: int = len(VOCABULARY), step: int = 71,
                      scale: float = 0.4) -> dict[str, np.ndarray[Any, Any]]:
    """The variables of a TFLearn script, with Adam's moments, at random values."""
    rng = np.random.default_rng(seed)

    def numbers(*shape: int) -> np.ndarray[Any, Any]:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    found: dict[str, np.ndarray[Any, Any]] = {}
    for layer in range(layers):
        name = "LSTM" if layer == 0 else f"LSTM_{layer}"
        found[f"{name}/{name}/BasicLSTMCell/Linear/Matrix"] = numbers((hidden if layer else characters) + hidden,
                                                                     4 * hidden)
        found[f"{name}/{name}/BasicLSTMCell/Linear/Bias"] = numbers(4 * hidden)
    found |= {"FullyConnected/W": numbers(hidden, characters), "FullyConnected/b": numbers(characters)}
    for name, array in list(found.items()):
        found[f"{name}/Adam"], found[f"{name}/Adam_1"] = array / 100, np.square(array) / 1000
    return found | {"Global_Step": np.float32(step), "Training_step": np.float32(step), "is_training": np.bool_(False),
                    "Adam/beta1_power": np.float32(0.9 ** (step + 1)), "val_loss": np.float32(2.5),
                    "Adam/beta2_power": np.float32(0.999 ** (step + 1)), "Accuracy/Mean/moving_avg": np.float32(0.3)}


def tflearn_set(folder: Path, count: int = 3, **shape: Any) -> None:
    """A folder as the script of the story leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        bundle(folder / f"model_checkpoint_v3-{71 * (i + 1)}", tflearn_variables(i, step=71 * (i + 1), **shape))
    (folder / "charDict.pi").write_bytes(pickle.dumps({c: i for i, c in enumerate(VOCABULARY)}))
    (folder / "checkpoint").write_text('model_checkpoint_path: "model_checkpoint_v3-71"\n')


def tflearn_probabilities(variables: dict[str, np.ndarray[Any, Any]], ids: np.ndarray[Any, Any]) -> Any:
    """What TFLearn's `lstm` layers and softmax make of windows of ids [windows, time]: BasicLSTMCell, step by step.

    c' = c sigmoid(f + 1) + sigmoid(i) tanh(j) and h' = tanh(c') sigmoid(o), from one product with [x, h].
    """
    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    x = np.eye(variables["FullyConnected/b"].size)[ids]
    for layer in range(sum(name.endswith("Matrix") for name in variables)):
        name = "LSTM" if layer == 0 else f"LSTM_{layer}"
        matrix = variables[f"{name}/{name}/BasicLSTMCell/Linear/Matrix"].astype(float)
        bias = variables[f"{name}/{name}/BasicLSTMCell/Linear/Bias"].astype(float)
        h = c = np.zeros((len(ids), matrix.shape[1] // 4))
        out = []
        for t in range(ids.shape[1]):
            i, j, f, o = np.split(np.concatenate([x[:, t], h], 1) @ matrix + bias, 4, axis=1)
            c = c * sigmoid(f + 1.0) + sigmoid(i) * np.tanh(j)
            h = np.tanh(c) * sigmoid(o)
            out.append(h)
        x = np.stack(out, 1)
    logits = x[:, -1] @ variables["FullyConnected/W"] + variables["FullyConnected/b"]
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)
