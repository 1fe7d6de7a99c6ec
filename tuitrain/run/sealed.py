"""JSON files with a checksum of their own as their last key. Knows nothing of what they say.

The checksum is the crc32 of the compact JSON without it, as in a line of the journal; the file may be indented.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from tuitrain.protocol import strict
from tuitrain.protocol.strict import BadJson

KEY = "crc"


def dump(body: Mapping[str, Any], indent: int | None = None) -> bytes:
    """The bytes of a sealed file."""
    sealed = {**body, KEY: _crc(body)}
    separators = (",", ":") if indent is None else None
    return json.dumps(sealed, indent=indent, separators=separators, allow_nan=False).encode() + b"\n"


def parse(raw: bytes, most: int) -> tuple[dict[str, Any], bool]:
    """The object, and whether it had a checksum, as older versions' have none. Raises BadJson if it is damaged."""
    body = strict.loads(raw, max_bytes=most)
    if not isinstance(body, dict):
        raise BadJson("not a JSON object")
    if KEY not in body:
        return body, False
    told = body.pop(KEY)
    if told != _crc(body):
        raise BadJson("its checksum does not match what it says")
    return body, True


def _crc(body: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, separators=(",", ":"), allow_nan=False).encode())
