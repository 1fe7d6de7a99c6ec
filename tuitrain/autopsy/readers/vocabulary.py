"""Reads a vocabulary that a script has left beside its checkpoints, such as TFLearn's `charDict.pi`.

That is a pickle, and a pickle can run any program. Its instructions are therefore read here and never executed: exactly
those that make up one dict of characters to numbers are accepted.
"""

import json
import pickletools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tuitrain.autopsy.readers.reader import File, Unreadable

MOST = 8 << 20
"""Bytes; all of Unicode takes less."""
_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING"}
_NUMBERS = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1"}
_PASSED = {"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"}
_ENDINGS = (".json", ".pi", ".pkl", ".pickle", ".p")


def beside(files: Sequence[File]) -> tuple[str | None, list[str]]:
    """Return the vocabulary that lies among the files of a folder, None if none does, and remarks."""
    remarks = []
    found: dict[str, str] = {}
    for file in files:
        if file.size > MOST or not (_is_pickle(file) or (file.path.suffix == ".json" and file.head[:1] in b"{[")):
            continue
        try:
            data = file.path.read_bytes()
            text = unpickled(data) if _is_pickle(file) else _parsed(data)
        except OSError as error:
            remarks.append(f"{file.path.name}: {error.strerror or error}")
            continue
        except Unreadable as error:
            if _is_pickle(file) and file.path.suffix in _ENDINGS:
                remarks.append(f"{file.path.name} is not read as a vocabulary: {error}")
            continue
        found.setdefault(text, file.path.name)
    if len(found) > 1:
        remarks.append(f"{' and '.join(found.values())} are different vocabularies; none of them is used")
        return None, remarks
    return next(iter(found), None), remarks


def _is_pickle(file: File) -> bool:
    """A pickle ends with a dot, and begins with its protocol or, in the oldest, with the mark of a dict."""
    return file.tail.endswith(b".") and (file.head[:1] == b"\x80" or file.head[:2] in (b"(d", b"}q", b"}("))


def unpickled(data: bytes) -> str:
    """Return the characters of a pickled dict {character: number} in the order of their numbers. Raises Unreadable."""
    pairs: list[str | int] = []
    opened = ended = False
    try:
        for instruction, argument, _ in pickletools.genops(data):
            name = instruction.name
            if name in _TEXTS and opened:
                pairs.append(str(argument))
            elif name in _NUMBERS and opened:
                if type(argument) is not int:
                    raise Unreadable("one of its numbers is none")
                pairs.append(argument)
            elif name in ("EMPTY_DICT", "DICT") and not pairs and not opened:
                opened = True
            elif name == "STOP" and opened:
                ended = True
            elif name not in _PASSED and not (name == "MARK" and len(pairs) % 2 == 0) and not (
                    name in ("SETITEM", "SETITEMS") and opened and len(pairs) % 2 == 0):
                raise Unreadable(f"it has the instruction {name}, which a dict of characters to numbers has not")
    except Unreadable:
        raise
    except Exception as error:  # pickletools raises whatever the damage leads to; nothing of it is executed
        raise Unreadable(f"it is damaged ({str(error)[:60] or type(error).__name__})") from None
    if not ended or len(pairs) % 2:
        raise Unreadable("it is cut off")
    return ordered(zip(pairs[::2], pairs[1::2], strict=True))


def _parsed(data: bytes) -> str:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Unreadable("it is not JSON") from None
    text = in_plain_data(found)
    if text is None:
        raise Unreadable("it has no vocabulary")
    return text


def in_plain_data(found: Any) -> str | None:
    """Return the vocabulary that plain data is: {character: number}, {number: character}, a list of characters or a
    text in which none occurs twice; None if it is none of these."""
    try:
        if isinstance(found, Mapping) and len(found) > 1:
            if all(isinstance(key, str) and type(value) is int for key, value in found.items()):
                return ordered(found.items())
            turned = [(value, int(key)) for key, value in found.items()]
            return ordered(turned)
        if isinstance(found, str | list | tuple) and len(found) > 1 and all(isinstance(each, str) for each in found):
            return ordered((each, i) for i, each in enumerate(found))
    except (Unreadable, ValueError, TypeError):
        return None
    return None


def ordered(pairs: Iterable[tuple[Any, Any]]) -> str:
    """Return characters in the order of their numbers. Raises Unreadable if that is not one character for each number
    from 0 on."""
    known = list(pairs)
    numbers = sorted(number for _, number in known if type(number) is int)
    if numbers != list(range(len(known))) or len(known) < 2:
        raise Unreadable("its numbers do not count its characters from 0 on")
    by_number = {number: character for character, number in known}
    characters = [by_number[i] for i in range(len(known))]
    if not all(isinstance(each, str) and len(each) == 1 for each in characters) or len(set(characters)) < len(known):
        raise Unreadable("it has something other than single characters, each once")
    return "".join(characters)
