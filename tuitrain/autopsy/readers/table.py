"""Reads a sorted table of keys and values, the format of LevelDB's files and of TensorFlow's `.index`.

A table is blocks of entries, an index block of their places, and a footer of 48 bytes. Keys are stored without what
they share with the one before. The format: https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from collections.abc import Iterator

from tuitrain.autopsy.readers import crc32c
from tuitrain.autopsy.readers.reader import Unreadable

MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER, TRAILER = 48, 5
_PLAIN = 0


def entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values in order. Raises Unreadable where anything is not as the format has it."""
    if len(data) < FOOTER or not data.endswith(MAGIC):
        raise Unreadable("its end is missing: it is cut off, or no table")
    footer = data[-FOOTER:]
    _, at = _handle(footer, 0)
    (begin, size), _ = _handle(footer, at)
    last = b""
    for _, place in _block(data, begin, size):
        (begin, size), _ = _handle(place, 0)
        for key, value in _block(data, begin, size):
            if key <= last and last:
                raise Unreadable("its keys are not in order")
            last = key
            yield key, value


def _block(data: bytes, begin: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    end = begin + size
    if end + TRAILER > len(data) - FOOTER or size < 4:
        raise Unreadable("a block of it lies outside the file")
    if int.from_bytes(data[end + 1 : end + TRAILER], "little") != crc32c.masked(data[begin : end + 1]):
        raise Unreadable("a block of it does not match its checksum")
    if data[end] != _PLAIN:
        raise Unreadable("it is compressed, which TensorFlow's are not")
    block = data[begin:end]
    stop = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    if stop < 0:
        raise Unreadable("a block of it has no room for its restarts")
    at, key = 0, b""
    while at < stop:
        shared, at = varint(block, at)
        own, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + own + length > stop:
            raise Unreadable("an entry of it lies outside its block")
        key = key[:shared] + block[at : at + own]
        at += own
        yield key, block[at : at + length]
        at += length


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    begin, at = varint(data, at)
    size, at = varint(data, at)
    return (begin, size), at


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, lowest first, and where it ends. Raises Unreadable."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Unreadable("a number of it does not end")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
