"""Converts any `state_dict` to named tensors plus JSON, and back. No pickle: any other type is refused by name."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tuitrain.errors import Refused

MARK = "~"
"""The key that distinguishes a packed value from a plain dict."""
PLAIN = {torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
         torch.bool}
"""Types of numbers that a checkpoint stores; others are stored as integers of the same size."""
_OF_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
TREE = "tree"
"""The tensor that holds the JSON."""


def pack(values: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return tensors by name, sharing memory with those in `values`, and everything else as JSON under `tree`.

    Raises Refused, naming the place of a value that is neither a tensor nor plain data.
    """
    tensors: dict[str, Tensor] = {}
    tree = {name: _packed(value, name, tensors) for name, value in values.items()}
    body = json.dumps(tree, separators=(",", ":"), allow_nan=False).encode()
    return {**tensors, TREE: torch.frombuffer(bytearray(body), dtype=torch.uint8)}


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what was given to `pack`, with new tensors on the device of the packed ones."""
    tree = json.loads(bytes(tensors[TREE].cpu().numpy().tobytes()))
    return {name: _unpacked(value, tensors) for name, value in tree.items()}


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) < 1 << 53 else {MARK: "int", "of": str(value)}
        case float():
            return value if math.isfinite(value) else {MARK: "float", "of": str(value)}
        case np.generic():
            return _packed(value.item(), name, tensors)
        case Tensor():
            return _tensor(value.detach(), name, tensors)
        case np.ndarray() if value.dtype != object:
            return {**_tensor(torch.from_numpy(np.array(value)), name, tensors), MARK: "array"}
        case bytes() | bytearray():
            held = torch.frombuffer(bytearray(value), dtype=torch.uint8) if value else torch.zeros(0, dtype=torch.uint8)
            return {**_tensor(held, name, tensors), MARK: "bytes"}
        case Mapping():
            if all(isinstance(key, str) and key != MARK for key in value):
                return {key: _packed(member, f"{name}.{key}", tensors) for key, member in value.items()}
            return {MARK: "dict", "of": [[_packed(key, f"{name}.{i}.key", tensors),
                                          _packed(member, f"{name}.{key}", tensors)]
                                         for i, (key, member) in enumerate(value.items())]}
        case list():
            return [_packed(member, f"{name}.{i}", tensors) for i, member in enumerate(value)]
        case tuple() | set() | frozenset():
            return {MARK: type(value).__name__ if type(value) in (set, frozenset) else "tuple",
                    "of": [_packed(member, f"{name}.{i}", tensors) for i, member in enumerate(value)]}
    raise Refused(f"{name} is a {type(value).__name__}, which cannot be saved without pickle; its state_dict may "
                  "hold tensors, numbers, strings, lists and dicts")


def _tensor(value: Tensor, name: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if value.layout != torch.strided or value.is_quantized:
        raise Refused(f"{name} is a {value.layout} tensor, which cannot be saved")
    while name in tensors:  # two keys with the same name, such as 1 and "1"
        name += "'"
    found: dict[str, Any] = {MARK: "tensor", "of": name}
    if value.dtype not in PLAIN:
        found["dtype"] = str(value.dtype).removeprefix("torch.")
        if value.is_complex():
            value = torch.view_as_real(value.resolve_conj())
        else:
            value = value.view(_OF_SIZE[value.element_size()])
    tensors[name] = value
    return found


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(member, tensors) for member in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(MARK)
    if kind is None:
        return {key: _unpacked(member, tensors) for key, member in value.items()}
    of = value["of"]
    match kind:
        case "int":
            return int(of)
        case "float":
            return float(of)
        case "tuple" | "set" | "frozenset":
            return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](_unpacked(m, tensors) for m in of)
        case "dict":
            return {_unpacked(key, tensors): _unpacked(member, tensors) for key, member in of}
    held = tensors[of].clone()  # the receiver may keep it and write into it
    if "dtype" in value:
        dtype = getattr(torch, value["dtype"])
        held = torch.view_as_complex(held) if dtype.is_complex else held.view(dtype)
    if kind == "tensor":
        return held
    return held.cpu().numpy() if kind == "array" else held.cpu().numpy().tobytes()
