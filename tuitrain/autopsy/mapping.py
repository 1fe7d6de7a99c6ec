"""Maps the arrays of a checkpoint onto our model by their names and shapes, and converts them exactly.

Whoever wrote them: torch's recurrent layers, TensorFlow's BasicLSTMCell (as TFLearn and char-rnn-tensorflow have it),
Keras' LSTM. What is left over is never passed over: a model with parts that ours has not would be another one.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuitrain.autopsy.readers.reader import Adam, Arrays, Stored, natural
from tuitrain.errors import RunError

Array = NDArray[Any]
FORGET_BIAS = 1.0
"""What TensorFlow's BasicLSTMCell adds to the forget gate in each step, and keeps in no variable."""
_BOOKKEEPING = re.compile(
    r"(?i)(.*/)?(global_step|training_step|step|is_training|val_(acc|loss)|epoch|(beta[12]_power|learning_rate|lr|the_rate)"
    r"(_\d+)?)(:0)?|.*moving_avg.*|.*(/Adam(_\d+)?|/RMSProp(_\d+)?|/Momentum|/ExponentialMovingAverage)"
    r"|.*Adam/beta[12]_power(_\d+)?|save_counter.*|_CHECKPOINTABLE_OBJECT_GRAPH|.*\.OPTIMIZER_SLOT.*|optimizer/.*"
    r"|.*num_batches_tracked")


class Unfit(RunError):
    """Arrays that our model cannot be given; the message is one line that says what does not fit."""


@dataclass(frozen=True, slots=True)
class Model:
    """The shape of a model: what Config calls these."""

    cell: str
    layers: int
    hidden: int
    embedding: int | str
    characters: int

    @property
    def words(self) -> str:
        """For a person."""
        first = "one-hot" if self.embedding == "onehot" else f"embedding of {self.embedding}"
        return f"{self.cell.upper()} {self.layers}x{self.hidden}, {first}, {self.characters} characters"


@dataclass(frozen=True, slots=True)
class Part:
    """One of our parameters: out of which of their arrays, and how. `added` is what their model adds as it runs."""

    ours: str
    theirs: str
    turn: Callable[[Array], Array]
    added: Array | None = None
    how: str = ""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How the arrays of a checkpoint become our parameters."""

    model: Model
    parts: tuple[Part, ...]

    def weights(self, arrays: Arrays) -> dict[str, Array]:
        """Return our parameters, float32. Raises Unfit if an array is missing or holds no floating-point numbers."""
        return {part.ours: _as_float(part.turn(_get(arrays, part.theirs)), part.added) for part in self.parts}

    def moments(self, adam: Adam) -> tuple[dict[str, Array], dict[str, Array]] | None:
        """Return Adam's first and second moments of our parameters; None if some are missing or of other shapes."""
        found: list[dict[str, Array]] = []
        for moments in (adam.first, adam.second):
            if any(part.theirs and getattr(moments.get(part.theirs), "ndim", 0) == 0 for part in self.parts):
                return None
            try:
                found.append({part.ours: _as_float(part.turn(_get(moments, part.theirs)), None) for part in self.parts})
            except (Unfit, ValueError, IndexError):
                return None
        return found[0], found[1]

    def table(self) -> list[tuple[str, str, str]]:
        """Return rows of (theirs, ours, how) for a person."""
        rows: dict[str, tuple[list[str], list[str]]] = {}
        for part in self.parts:
            if part.theirs:
                ours, how = rows.setdefault(part.theirs, ([], []))
                ours.append(part.ours)
                if part.how and part.how not in how:
                    how.append(part.how)
        return [(theirs, ", ".join(ours), "; ".join(how)) for theirs, (ours, how) in rows.items()]


@dataclass(slots=True)
class _Layer:
    """One recurrent layer as it was found: sizes, gates, and its parts without their number."""

    name: str
    inputs: int
    hidden: int
    cell: str
    parts: list[tuple[str, str, Callable[[Array], Array], Array | None, str]] = field(default_factory=list)


def fit(stored: Stored) -> Conversion:
    """Return how a checkpoint becomes our model. Raises Unfit."""
    arrays = {name: array for name, array in stored.arrays.items()
              if array.ndim and not _BOOKKEEPING.fullmatch(name)}
    used: set[str] = set()
    layers = sorted(_layers(arrays, used), key=lambda layer: natural(_base(layer.name)))
    if not layers:
        raise Unfit("it has no recurrent layer that is known (LSTM or GRU of PyTorch, LSTM of TensorFlow or Keras)")
    layers = _chained(layers)
    rest = {name: array for name, array in arrays.items() if name not in used}
    hidden, inputs = layers[0].hidden, layers[0].inputs
    characters, head_parts = _head(rest, hidden)
    remaining = {name: array for name, array in rest.items() if name not in {part.theirs for part in head_parts}}
    embedding = _embedding(remaining, characters, inputs)
    parts: list[Part] = []
    if embedding is not None:
        parts.append(Part("embedding.weight", embedding, _same))
        remaining.pop(embedding, None)
    elif inputs != characters:
        raise Unfit(f"its first layer takes {inputs} numbers a character, which is neither one-hot ({characters} "
                    "characters) nor an embedding of it")
    if remaining:
        more = f" and {len(remaining) - 1} more" if len(remaining) > 1 else ""
        raise Unfit(f"it has {min(remaining)}{more}, for which our model has no place")
    cell = layers[0].cell
    for i, layer in enumerate(layers):
        parts += [Part(f"{cell}.{ours}_l{i}", theirs, turn, added, how)
                  for ours, theirs, turn, added, how in layer.parts]
    parts += head_parts
    return Conversion(Model(cell, len(layers), hidden, "onehot" if embedding is None else inputs, characters),
                    tuple(parts))


def _layers(arrays: Arrays, used: set[str]) -> Iterator[_Layer]:
    for name, array in arrays.items():
        if array.ndim != 2:
            continue
        if re.search(r"(^|[._])weight_ih(_l\d+)?$", name):
            yield _torch(arrays, name, used)
        elif re.search(r"/recurrent_kernel(/|$)", name):
            yield _keras(arrays, name, used)
        elif re.search(r"(?i)(BasicLSTMCell/Linear/Matrix|lstm_cell/(kernel|weights))$", name):
            yield _tensorflow(arrays, name, used)


def _torch(arrays: Arrays, name: str, used: set[str]) -> _Layer:
    """torch stacks the gates as we do."""
    start, _, end = name.rpartition("weight_ih")
    recurrent = _get(arrays, f"{start}weight_hh{end}")
    hidden = recurrent.shape[1]
    for odd, words in ((f"{start}weight_ih{end}_reverse", "is bidirectional"), (f"{start}weight_hr{end}", "projects")):
        if odd in arrays:
            raise Unfit(f"its recurrent layer {words} ({odd}), which ours does not")
    cell = {4: "lstm", 3: "gru"}.get(recurrent.shape[0] // max(1, hidden))
    if cell is None or recurrent.shape[0] % hidden or arrays[name].shape[0] != recurrent.shape[0]:
        raise Unfit(f"{name} {list(arrays[name].shape)} and {start}weight_hh{end} {list(recurrent.shape)} are of no "
                    "cell that is known")
    layer = _Layer(name, arrays[name].shape[1], hidden, cell)
    for kind in ("weight_ih", "weight_hh"):
        layer.parts.append((kind, f"{start}{kind}{end}", _same, None, ""))
    for kind in ("bias_ih", "bias_hh"):
        theirs = f"{start}{kind}{end}"
        if theirs in arrays:
            _check(theirs, arrays[theirs], (recurrent.shape[0],))
            layer.parts.append((kind, theirs, _same, None, ""))
        else:
            layer.parts.append((kind, "", _none(recurrent.shape[0]), None, "it has none: zero"))
    used.update(theirs for _, theirs, _, _, _ in layer.parts)
    return layer


def _tensorflow(arrays: Arrays, name: str, used: set[str]) -> _Layer:
    """One matrix [inputs + hidden, 4 hidden] for input and recurrence, gates in the order i, j, f, o."""
    start = name.rpartition("/")[0]
    bias_name = next((f"{start}/{last}" for last in ("Bias", "bias", "biases") if f"{start}/{last}" in arrays), "")
    matrix = arrays[name]
    hidden, rest = divmod(matrix.shape[1], 4)
    inputs = matrix.shape[0] - hidden
    if rest or inputs < 1:
        raise Unfit(f"{name} {list(matrix.shape)} is of no LSTM")
    if not bias_name:
        raise Unfit(f"{start}/Bias is missing")
    _check(bias_name, arrays[bias_name], (4 * hidden,))
    if any(f"{start}/w_{gate}_diag" in arrays for gate in "fio"):
        raise Unfit(f"{start} has peepholes, which ours has not")
    rows = np.concatenate([np.arange(hidden) + hidden * block for block in (0, 2, 1, 3)])
    forget = np.zeros(4 * hidden, np.float32)
    forget[hidden : 2 * hidden] = FORGET_BIAS
    order = "gates i, j, f, o put into the order i, f, g, o"
    layer = _Layer(name, inputs, hidden, "lstm", [
        ("weight_ih", name, lambda m: m[:inputs, rows].T, None, order),
        ("weight_hh", name, lambda m: m[inputs:, rows].T, None, ""),
        ("bias_ih", bias_name, lambda b: b[rows], forget, f"the forget bias of {FORGET_BIAS:g} added"),
        ("bias_hh", bias_name, np.zeros_like, None, ""),
    ])
    used.update((name, bias_name))
    return layer


def _keras(arrays: Arrays, name: str, used: set[str]) -> _Layer:
    """Keras has torch's order of gates (i, f, c, o), transposed, and one bias."""
    kernel_name, bias_name = (name.replace("/recurrent_kernel", f"/{kind}") for kind in ("kernel", "bias"))
    kernel, recurrent, bias = (_get(arrays, each) for each in (kernel_name, name, bias_name))
    hidden = recurrent.shape[0]
    _check(name, recurrent, (hidden, 4 * hidden))
    _check(kernel_name, kernel, (kernel.shape[0], 4 * hidden))
    _check(bias_name, bias, (4 * hidden,))
    used.update((name, kernel_name, bias_name))
    return _Layer(name, kernel.shape[0], hidden, "lstm", [
        ("weight_ih", kernel_name, np.transpose, None, "transposed"),
        ("weight_hh", name, np.transpose, None, "transposed"),
        ("bias_ih", bias_name, _same, None, ""), ("bias_hh", bias_name, np.zeros_like, None, "")])


def _chained(layers: list[_Layer]) -> list[_Layer]:
    """Return the layers in an order in which each takes what the one before gives. Raises Unfit."""
    kinds, sizes = {layer.cell for layer in layers}, {layer.hidden for layer in layers}
    if len(kinds) > 1 or len(sizes) > 1:
        unlike = ", ".join(f"{each.cell} of {each.hidden}" for each in layers)
        raise Unfit(f"its layers differ ({unlike}); ours are alike")
    hidden = layers[0].hidden
    if any(layer.inputs != hidden for layer in layers[1:]):
        first = [layer for layer in layers if layer.inputs != hidden]
        if len(first) != 1:
            raise Unfit("its layers do not follow each other: they take "
                        + ", ".join(f"{layer.inputs}" for layer in layers) + " numbers each")
        layers = first + [layer for layer in layers if layer is not first[0]]
    return layers


def _head(rest: Arrays, hidden: int) -> tuple[int, list[Part]]:
    """Return the number of characters and the parts of the layer that ends in their logits. Raises Unfit."""
    biases = {name: array for name, array in rest.items() if array.ndim == 1}
    found = []
    for name, array in rest.items():
        if array.ndim != 2 or "embed" in name.lower():
            continue
        start, _, _ = name.rpartition("/" if "/" in name else ".")
        if "/.ATTRIBUTES/" in name:
            kernel = re.sub(r"/kernel(?=/)", "/bias", name)
            pairs = [kernel] if kernel != name else []
        else:
            between = "/" if "/" in name else "."
            pairs = [f"{start}{between}{bias}" if start else bias for bias in ("bias", "b", "biases", "softmax_b")]
        bias_name = next((each for each in pairs if each in biases and each != name), "")
        rows, columns = array.shape
        transposed = "/" in name
        if (rows if transposed else columns) == hidden:
            found.append((name, bias_name, columns if transposed else rows, transposed))
    if len(found) > 1:  # a tied or an equally shaped embedding has no bias
        found = [each for each in found if each[1]] or found
    if len(found) != 1:
        some = f"{len(found)} layers that could be it" if found else "none"
        raise Unfit(f"it needs one linear layer from {hidden} units to the characters, and has {some}")
    name, bias_name, characters, transposed = found[0]
    if bias_name:
        _check(bias_name, biases[bias_name], (characters,))
    return characters, [
        Part("head.weight", name, np.transpose if transposed else _same, how="transposed" if transposed else ""),
        Part("head.bias", bias_name, _same if bias_name else _none(characters), how="" if bias_name else "none: zero")]


def _embedding(remaining: Arrays, characters: int, inputs: int) -> str | None:
    matrices = [name for name, array in remaining.items() if array.ndim == 2]
    for name in matrices:
        if remaining[name].shape == (characters, inputs):
            return name
    named = next((name for name in matrices if "embed" in name.lower()), None)
    if named is not None:
        raise Unfit(f"{named} {list(remaining[named].shape)} does not fit {characters} characters of {inputs} numbers")
    return None


def _base(name: str) -> str:
    """TFLearn calls the first of several layers LSTM and the second LSTM_1."""
    return re.sub(r"(?<=[a-zA-Z])(?=/)", "_0", name)


def _get(arrays: Mapping[str, Array], name: str) -> Array:
    if not name:
        return np.zeros(0, np.float32)
    if name not in arrays:
        raise Unfit(f"{name} is missing")
    return arrays[name]


def _check(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise Unfit(f"{name} is {list(array.shape)}, not {list(shape)}")


def _as_float(array: Array, added: Array | None) -> Array:
    if array.dtype.kind != "f":
        raise Unfit(f"its weights are {array.dtype.name}, not floating-point numbers")
    made = np.array(array, dtype=np.float32, order="C")
    return made if added is None else made + added


def _same(array: Array) -> Array:
    return array


def _none(size: int) -> Callable[[Array], Array]:
    return lambda _: np.zeros(size, np.float32)
