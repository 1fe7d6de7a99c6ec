"""First stage: read the text. Knows nothing of devices and models."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuitrain.charlstm.config import Config
from tuitrain.charlstm.runtime import Report
from tuitrain.charlstm.text import corpus
from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.errors import CorpusError
from tuitrain.run.directory import RunDirectory


def read(config: Config, report: Report) -> Corpus:
    """Read the text of a new run. Raises CorpusError."""
    text = _load(config, config.corpus)
    report(f"{text.name}: {len(text.ids):,} characters")
    return text


def read_again(run: RunDirectory, kept: Mapping[str, Any], config: Config, path: str | None) -> Corpus:
    """Read the text that a run was trained on: at `path` if given, else the run's copy, else the original file.

    `kept` is the content of config.json. Raises CorpusError if it is another text.
    """
    if path is not None:
        text = _load(config, path)
    elif os.path.lexists(run.corpus):
        size = kept.get("corpus_bytes")
        text = corpus.load_copy(run.corpus, str(kept.get("corpus_name", "corpus")), config.val, size)
    else:
        text = _load(config, config.corpus)
    if text.sha256 != kept.get("corpus_sha256") or text.vocabulary != kept.get("vocabulary"):
        used = path or (run.corpus if os.path.lexists(run.corpus) else config.corpus)
        raise CorpusError(f"{used} is not the text this run was trained on (its sha256 differs); "
                          "name that text with --corpus, or start a new run")
    return text


def _load(config: Config, path: str) -> Corpus:
    return corpus.load(Path(path), encoding=config.encoding, errors=config.errors, limit=config.limit, val=config.val)
