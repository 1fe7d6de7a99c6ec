"""Reads PyTorch's state dicts: `.pt` and `.pth`, bare or nested, and `.safetensors`.

A `.pt` is read with `weights_only=True`, which makes tensors and plain data and runs nothing. torch does not compare
its checksums when it reads; they are compared here before.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tuitrain.autopsy.readers import vocabulary
from tuitrain.autopsy.readers.reader import Adam, Entry, File, Reader, Stored, Unreadable, number_in

NESTED = ("model", "model_state_dict", "state_dict", "model_state", "net", "network", "weights", "module")
OPTIMIZERS = ("optimizer", "optimizer_state_dict", "optim", "optimizer_state", "opt")
STEPS = ("step", "global_step", "steps", "iteration", "iter", "it", "epoch")
"""What scripts call the number of a checkpoint, the most exact first."""
WRAPPERS = ("module.", "_orig_mod.", "model.")
MOST_PLAIN = 10_000
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""What a file of torch before 1.6 begins with: its magic number, pickled."""


class PyTorch(Reader):
    """See module."""

    title: ClassVar = "PyTorch"

    def entries(self, files: Sequence[File]) -> tuple[list[Entry], list[str]]:
        """See Reader."""
        found, remarks = [], []
        for file in files:
            if is_pickled(file) or is_safetensors(file):
                found.append(Entry.of(file.path.name, file.path, number_in(file.path.stem), [file]))
            elif file.path.suffix in (".pt", ".pth", ".safetensors"):
                remarks.append(f"{file.path.name} is not what its name says: its beginning is damaged or of another "
                               "format")
        return found, remarks

    def read(self, entry: Entry) -> Stored:
        """See Reader."""
        try:
            with open(entry.path, "rb") as file:
                zipped = file.read(4)
            if zipped == b"PK\x03\x04":
                _check_sums(entry.path)
            elif zipped[:2] != LEGACY[:2]:
                return _safetensors(entry)
            return _pickled(entry)
        except Unreadable as error:
            raise Unreadable(f"{entry.path.name}: {error}") from None
        except OSError as error:
            raise Unreadable(f"{entry.path.name}: {error.strerror or error}") from None


def is_pickled(file: File) -> bool:
    """What torch.save writes: a zip archive that begins with its pickle, or before torch 1.6 one pickle."""
    return (file.head.startswith(b"PK\x03\x04") and b"/data.pkl" in file.head) or file.head.startswith(LEGACY)


def is_safetensors(file: File) -> bool:
    """Eight bytes that are the length of a header in JSON, which lies in the file."""
    return file.head[8:9] == b"{" and 2 <= int.from_bytes(file.head[:8], "little") <= 100 << 20


def _check_sums(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, OSError,
            UnicodeDecodeError) as error:
        raise Unreadable(f"it is damaged or cut off ({str(error)[:80] or type(error).__name__})") from None
    if broken is not None:
        raise Unreadable(f"it is damaged: {broken[-60:]} does not match its checksum")


def _safetensors(entry: Entry) -> Stored:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(entry.path, framework="pt") as file:
            about = dict(file.metadata() or {})
            arrays = {name: _array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise Unreadable(f"it is damaged or cut off ({str(error)[:80]})") from None
    number = next((int(about[name]) for name in STEPS if about.get(name, "").isdigit()), entry.step)
    return Stored(_unwrapped(arrays), number, facts=about)


def _pickled(entry: Entry) -> Stored:
    import torch

    try:
        loaded = torch.load(entry.path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the damage leads to: torch has no error of its own for it
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "weights_only" in str(error) or "Unsupported" in str(error) or "GLOBAL" in str(error):
            raise Unreadable("it holds more than tensors and plain data, which would have to be run to be read; save "
                             "`model.state_dict()`") from None
        raise Unreadable(f"torch cannot read it ({words[:100]})") from None
    if not isinstance(loaded, Mapping):
        raise Unreadable("it is no state dict")
    weights = _weights(loaded)
    if weights is None:
        raise Unreadable("it has no state dict: neither tensors by name nor such a dict under "
                         + ", ".join(NESTED[:3]))
    arrays = {str(name): _array(tensor) for name, tensor in weights.items() if isinstance(tensor, torch.Tensor)}
    plain = {} if weights is loaded else dict(_plain(loaded))
    number = next((int(plain[name]) for name in STEPS if type(plain.get(name)) is int), None)
    stored = _unwrapped(arrays)
    state = next((loaded[name] for name in OPTIMIZERS if isinstance(loaded.get(name), Mapping)), None)
    return Stored(stored, number if number is not None else entry.step,
                  _adam(state, list(stored)) if state is not None and weights is not loaded else None,
                  _vocabulary(loaded), plain)


def _weights(loaded: Mapping[Any, Any], depth: int = 0) -> Mapping[Any, Any] | None:
    """Return the dict of tensors by name, at the top or under one of the usual names."""
    import torch

    if sum(isinstance(value, torch.Tensor) and value.dim() == 2 for value in loaded.values()) >= 2:
        return loaded
    if depth < 3:
        for name in (*NESTED, *(key for key in loaded if key not in NESTED and key not in OPTIMIZERS)):
            if isinstance(loaded.get(name), Mapping):
                found = _weights(loaded[name], depth + 1)
                if found is not None:
                    return found
    return None


def _array(tensor: Any) -> NDArray[Any]:
    if tensor.is_sparse or tensor.is_quantized or tensor.layout != _strided():
        raise Unreadable("it has a tensor that is sparse or quantized")
    tensor = tensor.detach()
    # numpy has no bfloat16; the others keep what they are.
    return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy())


def _strided() -> Any:
    import torch

    return torch.strided


def _unwrapped(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return arrays without what DataParallel, torch.compile and the like put before every name."""
    for wrapper in WRAPPERS * 2:
        if arrays and all(name.startswith(wrapper) for name in arrays):
            arrays = {name.removeprefix(wrapper): array for name, array in arrays.items()}
    return arrays


def _adam(state: Mapping[Any, Any], names: list[str]) -> Adam | None:
    """Return the moments of an Adam whose parameters are in the order of the state dict; None if that does not fit."""
    import torch

    each, groups = state.get("state"), state.get("param_groups")
    if not isinstance(each, Mapping) or not isinstance(groups, list) or not groups:
        return None
    order = [index for group in groups if isinstance(group, Mapping) for index in group.get("params", [])]
    if len(order) != len(names) or set(each) != set(order):
        return None
    first, second, steps = {}, {}, 0
    for index, name in zip(order, names, strict=True):
        moments = each[index]
        if not isinstance(moments, Mapping) or not all(isinstance(moments.get(key), torch.Tensor)
                                                       for key in ("exp_avg", "exp_avg_sq")):
            return None
        first[name], second[name] = _array(moments["exp_avg"]), _array(moments["exp_avg_sq"])
        steps = max(steps, int(moments.get("step", 0)))
    group = groups[0]
    betas, lr = group.get("betas", (0.9, 0.999)), group.get("lr")
    return Adam(first, second, steps, (float(betas[0]), float(betas[1])), lr if isinstance(lr, float) else None)


def _plain(loaded: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in list(loaded.items())[:MOST_PLAIN]:
        if isinstance(name, str) and isinstance(value, int | float | str | bool):
            yield name, value


def _vocabulary(loaded: Mapping[Any, Any], depth: int = 0) -> str | None:
    """Return the first vocabulary that lies in the file as plain data."""
    for name, value in loaded.items():
        if isinstance(value, str) and not (isinstance(name, str) and name.lower().startswith(("vocab", "char"))):
            continue
        found = vocabulary.in_plain_data(value)
        if found is None and isinstance(value, Mapping) and depth < 2 and name not in OPTIMIZERS:
            found = _vocabulary(value, depth + 1)
        if found is not None:
            return found
    return None
