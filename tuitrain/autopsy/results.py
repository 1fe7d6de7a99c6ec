"""Keeps what was measured beside the folder, never in it, so that an interrupted autopsy goes on where it stopped.

A line of JSON per checkpoint, appended when it is examined. A result counts as long as the checkpoint, the one before
it, the text and the instruments are the same.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuitrain import __version__
from tuitrain.autopsy.examination import ROWS, SAMPLE, WINDOWS, Examined
from tuitrain.autopsy.readers.reader import Entry
from tuitrain.autopsy.source import Subject
from tuitrain.charlstm import cache

ENDING = ".autopsy.jsonl"
MOST = 256 << 20


class Results:
    """The results in one file; `path` is None where nothing can be written."""

    def __init__(self, folder: Path, subject: Subject) -> None:
        config = subject.config
        self._subject = hashlib.sha256(json.dumps(
            [__version__, subject.corpus.sha256, subject.corpus.vocabulary, subject.order,
             len(subject.corpus.ids), config.loss, config.bptt, config.val, subject.model.words, ROWS, WINDOWS,
             SAMPLE]).encode()).hexdigest()[:16]
        self._known: dict[str, Examined] = {}
        whole = folder.resolve()
        self.path = whole.with_name(whole.name + ENDING)
        self._other = cache.path(f"autopsy-{hashlib.sha256(str(whole).encode()).hexdigest()[:16]}{ENDING}")
        for path in (self.path, self._other):
            self._read(path)

    def find(self, entry: Entry, before: Entry | None) -> Examined | None:
        """Return the numbers of a checkpoint after the one before it, if they are known."""
        return self._known.get(self._key(entry, before))

    def keep(self, entry: Entry, before: Entry | None, found: Examined) -> None:
        """Store the numbers of a checkpoint; where nothing can be written they are measured again the next time."""
        key = self._key(entry, before)
        self._known[key] = found
        line = json.dumps({"key": key, "found": found.to_json()}) + "\n"
        for path in (self.path, self._other):
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "a", encoding="utf-8") as file:
                    file.write(line)
                self.path = path
                return

    def _key(self, entry: Entry, before: Entry | None) -> str:
        marks = [[each.name, each.size, each.changed] for each in (entry, before) if each is not None]
        return f"{self._subject} {json.dumps(marks)}"

    def _read(self, path: Path) -> None:
        try:
            if not path.is_file() or path.stat().st_size > MOST:
                return
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):  # a line that was cut off
                read = json.loads(line)
                self._known[read["key"]] = _examined(read["found"])


def _examined(found: Mapping[str, Any]) -> Examined:
    each = Examined(**found)
    return Examined(**{**found, "layers": tuple(each.layers)})
