"""Reads TensorFlow's V2 checkpoints, as TFLearn writes them: `NAME-STEP.index` and `NAME-STEP.data-00000-of-00001`.

The index is a table (table.py) of protobuf messages: under the empty key a BundleHeaderProto, under each variable's
name a BundleEntryProto (tensorflow/core/protobuf/tensor_bundle.proto) that has the place of its bytes and a checksum.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tuitrain.autopsy.readers import crc32c, table
from tuitrain.autopsy.readers.reader import Adam, Entry, File, Reader, Stored, Unreadable, number_in

DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 6: "i1", 9: "<i8", 10: "?"}
"""TensorFlow's numbers of the types that a model's variables have."""
MOST_INDEX = 64 << 20
MOST_DIMENSIONS = 8
FIRST, SECOND = "/Adam", "/Adam_1"
"""What Adam's moments of a variable are called."""
_LITTLE = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a variable's bytes are."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int


class TensorFlow(Reader):
    """See module."""

    title: ClassVar = "TensorFlow"
    loss: ClassVar = "last"
    bptt: ClassVar = 30

    def entries(self, files: Sequence[File]) -> tuple[list[Entry], list[str]]:
        """See Reader."""
        shards: dict[str, list[File]] = {}
        for file in files:
            stem, dot, _ = file.path.name.rpartition(".data-")
            if dot:
                shards.setdefault(stem, []).append(file)
        found, remarks = [], []
        for file in files:
            if not file.path.name.endswith(".index"):
                if file.tail == table.MAGIC:
                    remarks.append(f"{file.path.name} is an index under another name; it has to end in .index")
                continue
            stem = file.path.name.removesuffix(".index")
            parts = shards.get(stem, [])
            if not parts:
                remarks.append(f"{file.path.name}: its {stem}.data-… is missing")
                continue
            found.append(Entry.of(stem, file.path, number_in(stem), [file, *parts]))
        return found, remarks

    def read(self, entry: Entry) -> Stored:
        """See Reader."""
        shards, places = index(entry.path)
        prefix = entry.path.with_name(entry.name)
        arrays = {}
        for name, place in places.items():
            if place.dtype in DTYPES:
                arrays[name] = _values(prefix, shards, name, place)
        steps = next((int(arrays[name]) for name in ("Global_Step", "global_step")
                      if name in arrays and arrays[name].size == 1), None)
        told = {name: array.item() for name, array in arrays.items() if array.size == 1}
        return Stored(arrays, entry.step if entry.step is not None else steps, _adam(arrays, steps), facts=told)


def index(path: Path) -> tuple[int, dict[str, Place]]:
    """Return the number of data files and the place of each variable. Raises Unreadable."""
    try:
        if path.stat().st_size > MOST_INDEX:
            raise Unreadable(f"{path.name} is too large for an index")
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{path.name}: {error.strerror or error}") from None
    try:
        known = list(table.entries(data))
        if not known or known[0][0] != b"":
            raise Unreadable("it has no header")
        header = _message(known[0][1])
        shards, endianness = _one(header, 1, 1), _one(header, 2, _LITTLE)
        if endianness != _LITTLE or not 1 <= shards <= 100_000:
            raise Unreadable("it is of a machine with another order of bytes")
        return shards, {_name(key): _place(value) for key, value in known[1:]}
    except Unreadable as error:
        raise Unreadable(f"{path.name}: {error}") from None


def _name(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise Unreadable("a name of it is not text") from None


def _place(value: bytes) -> Place:
    message = _message(value)
    if 7 in message:
        raise Unreadable("it has a variable in slices, which are not read")
    shape = []
    for raw in message.get(2, []):
        for dimension in _message(_bytes(raw)).get(2, []):
            shape.append(_one(_message(_bytes(dimension)), 1, 0))
    if len(shape) > MOST_DIMENSIONS:
        raise Unreadable("it has a variable of too many dimensions")
    return Place(_one(message, 1, 0), tuple(shape), _one(message, 3, 0), _one(message, 4, 0), _one(message, 5, 0),
                 _one(message, 6, 0))


def _values(prefix: Path, shards: int, name: str, place: Place) -> NDArray[np.generic]:
    """Return a variable, checked against the size of its file and its checksum. Raises Unreadable."""
    path = prefix.with_name(f"{prefix.name}.data-{place.shard:05d}-of-{shards:05d}")
    dtype = np.dtype(DTYPES[place.dtype])
    if place.size != math.prod(place.shape) * dtype.itemsize:
        raise Unreadable(f"{path.name}: {name} has {place.size:,} bytes, which is not what its shape "
                         f"{list(place.shape)} takes")
    try:
        with open(path, "rb") as file:
            size = path.stat().st_size
            if place.offset + place.size > size:
                raise Unreadable(f"{path.name} is cut off: {name} ends at byte {place.offset + place.size:,} of "
                                 f"{size:,}")
            file.seek(place.offset)
            data = file.read(place.size)
    except OSError as error:
        raise Unreadable(f"{path.name}: {error.strerror or error}") from None
    if len(data) != place.size or crc32c.masked(data) != place.crc:
        raise Unreadable(f"{path.name} is damaged: {name} does not match its checksum")
    return np.frombuffer(data, dtype).reshape(place.shape)


def _adam(arrays: dict[str, NDArray[np.generic]], steps: int | None) -> Adam | None:
    """Return the moments that lie beside the variables under their names, None where there are none."""
    first = {name: arrays[name + FIRST] for name in arrays if name + FIRST in arrays and name + SECOND in arrays}
    if not first:
        return None
    betas = (0.9, 0.999)
    power = next((float(array) for name, array in arrays.items()
                  if name.endswith("beta2_power") and array.size == 1), 0.0)
    if steps is None and 0 < power < 1:
        # The variable begins at beta2 and is multiplied by it in each step.
        steps = max(0, round(math.log(power) / math.log(betas[1])) - 1)
    return Adam(first, {name: arrays[name + SECOND] for name in first}, steps or 0, betas)


def _message(data: bytes) -> dict[int, list[int | bytes]]:
    """Return the fields of a protobuf message by number. Raises Unreadable."""
    fields: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(data):
        key, at = table.varint(data, at)
        number, kind = key >> 3, key & 7
        value: int | bytes
        if kind == 0:
            value, at = table.varint(data, at)
        elif kind in (1, 2, 5):
            length, at = (8, at) if kind == 1 else (4, at) if kind == 5 else table.varint(data, at)
            if at + length > len(data):
                raise Unreadable("a field of it lies outside its message")
            value, at = data[at : at + length], at + length
            value = value if kind == 2 else int.from_bytes(value, "little")
        else:
            raise Unreadable("a field of it is of no known kind")
        fields.setdefault(number, []).append(value)
    return fields


def _one(fields: dict[int, list[int | bytes]], number: int, otherwise: int) -> int:
    value = fields.get(number, [otherwise])[-1]
    if not isinstance(value, int) or value >= 1 << 62:
        raise Unreadable("a field of it is not the number it should be")
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise Unreadable("a field of it is not the message it should be")
    return value
