"""JSON files whose last key is a checksum of the rest. Knows nothing about their content.

The checksum is the crc32 of the compact JSON without that key, as in a journal line; the file may be indented.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from tuitrain.protocol import strict
from tuitrain.protocol.strict import BadJson

KEY = "crc"


def dump(body: Mapping[str, Any], indent: int | None = None) -> bytes:
    """Return the bytes of a sealed file."""
    sealed = {**body, KEY: _crc(body)}
    separators = (",", ":") if indent is None else None
    return json.dumps(sealed, indent=indent, separators=separators, allow_nan=False).encode() + b"\n"


def parse(raw: bytes, most: int) -> tuple[dict[str, Any], bool]:
    """Return the object and whether it had a checksum (older versions wrote none). Raises BadJson if it is damaged."""
    body = strict.loads(raw, max_bytes=most)
    if not isinstance(body, dict):
        raise BadJson("not a JSON object")
    if KEY not in body:
        return body, False
    stored = body.pop(KEY)
    if stored != _crc(body):
        raise BadJson("its checksum does not match its content")
    return body, True


def _crc(body: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, separators=(",", ":"), allow_nan=False).encode())
