"""CRC-32C (Castagnoli), as TensorFlow's and LevelDB's files have it, fast enough for a model of 100 MB.

A checksum is linear over GF(2): the rows of a matrix of bytes are summed side by side in numpy, and the sums are joined
by the operator that appends a row of zeros.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78
"""Reversed, as the bits are read."""
_MASK = 0xA282EAD8
_ROW, _AT_ONCE = 1024, 2048
_U32 = NDArray[np.uint32]


def masked(data: bytes | memoryview) -> int:
    """Return the checksum as these formats store it: rotated, and offset so that one of checksums is no trap."""
    crc = checksum(data)
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def checksum(data: bytes | memoryview) -> int:
    """Return the CRC-32C of some bytes."""
    rows = len(data) // _ROW
    crc = 0xFFFFFFFF
    if rows:
        whole = np.frombuffer(data, np.uint8, rows * _ROW).reshape(rows, _ROW)
        for begin in range(0, rows, _AT_ONCE):
            for part in _by_row(whole[begin : begin + _AT_ONCE]):
                crc = _append(crc) ^ int(part)
    table = _table_of_ints()
    for byte in bytes(data[rows * _ROW :]):
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _by_row(block: NDArray[np.uint8]) -> _U32:
    """Return the register after each row of a block, begun at zero, two bytes at a time."""
    table = _pairs()
    crc: Any = np.zeros(len(block), np.uint32)
    for column in np.ascontiguousarray(block.view("<u2").T):
        crc = table[(crc ^ column) & 0xFFFF] ^ (crc >> np.uint32(16))
    return crc


def _append(crc: int) -> int:
    """Return the register after a row of zeros."""
    a, b, c, d = _operator()
    return a[crc & 0xFF] ^ b[crc >> 8 & 0xFF] ^ c[crc >> 16 & 0xFF] ^ d[crc >> 24]


def _zeros(crc: _U32, bits: int) -> _U32:
    """Return registers after so many zero bits."""
    for _ in range(bits):
        crc = np.where(crc & 1, (crc >> 1) ^ np.uint32(POLYNOMIAL), crc >> 1).astype(np.uint32)
    return crc


@functools.cache
def _pairs() -> _U32:
    return _zeros(np.arange(1 << 16, dtype=np.uint32), 16)


@functools.cache
def _table_of_ints() -> list[int]:
    return [int(entry) for entry in _zeros(np.arange(256, dtype=np.uint32), 8)]


@functools.cache
def _operator() -> tuple[list[int], ...]:
    """Return what each byte of a register becomes after a row of zeros."""
    table = _pairs()
    crc: Any = (np.arange(256, dtype=np.uint32)[None] << np.array([[0], [8], [16], [24]], np.uint32)).astype(np.uint32)
    for _ in range(_ROW // 2):
        crc = table[crc & 0xFFFF] ^ (crc >> np.uint32(16))
    return tuple([int(entry) for entry in row] for row in crc)
