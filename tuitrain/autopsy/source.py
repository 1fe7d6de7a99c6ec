"""What an autopsy begins with: the checkpoints of a folder or a run, the text, the vocabulary, the instruments."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tuitrain.autopsy.mapping import Conversion, Model, Unfit, fit
from tuitrain.autopsy.readers import READERS, vocabulary
from tuitrain.autopsy.readers.reader import Entry, Listing, Reader, Stored, Unreadable, find, look
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.text import corpus
from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.errors import CorpusError, RunError, UsageError
from tuitrain.run.directory import RunDirectory

VALIDATION = 0.1
"""Share of the text, from its end, that is read where no run says another."""
UNKNOWN = 0.01
"""Largest share of characters that the vocabulary may lack: a few are left out, more is another text."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where checkpoints come from. `kept` is the config.json of a run of ours, else empty."""

    folder: Path
    listing: Listing
    kept: Mapping[str, Any]
    run: RunDirectory | None
    vocabulary: str | None
    """What lies beside the checkpoints; a checkpoint's own goes first."""
    remarks: tuple[str, ...]

    @property
    def reader(self) -> Reader:
        """What reads them."""
        return self.listing.reader


@dataclass(frozen=True, slots=True)
class Subject:
    """One model and the text it is examined with, its characters in the order of their code points."""

    model: Model
    config: Config
    corpus: Corpus
    order: tuple[int, ...]
    """Which of the checkpoint's characters each of ours is."""
    remarks: tuple[str, ...]


def open_source(path: Path, vocabulary_file: Path | None = None) -> Source:
    """Return the checkpoints in a folder or a run, none of them read yet. Raises RunError."""
    if path.is_file():
        raise RunError(f"{path} is a file; name the folder that it lies in, or `tuitrain adopt {path}`")
    run = next((RunDirectory(each) for each in (path, path.parent)
                if (each / "config.json").is_file() and (each == path or path.name == "checkpoints")), None)
    kept: Mapping[str, Any] = {}
    folder, remarks = path, []
    if run is not None and run.checkpoints.is_dir():
        folder = run.checkpoints
        try:
            kept = run.read_config()
        except RunError as error:
            remarks.append(str(error))
        if kept.get("config", {}).get("kind") == "watched":
            raise RunError(f"{path} is a run of a script, whose checkpoints only that script can read")
    listing = find(folder, READERS)
    characters, words = vocabulary.beside(look(folder)[0])
    if vocabulary_file is not None:
        characters, words = named_vocabulary(vocabulary_file), []
    return Source(path, listing, kept, run if kept else None, kept.get("vocabulary", characters),
                  (*listing.remarks, *remarks, *words))


def named_vocabulary(path: Path) -> str:
    """Return the vocabulary in a file that a person named. Raises UsageError."""
    try:
        files, _ = look(path.parent)
        found, remarks = vocabulary.beside([file for file in files if file.path.name == path.name])
    except RunError as error:
        raise UsageError(f"--vocabulary {path}: {error}") from None
    if found is None:
        why = remarks[0] if remarks else "no such file, or neither a pickled dict of characters to numbers nor JSON"
        raise UsageError(f"--vocabulary {path}: {why}")
    return found


def first_readable(source: Source) -> tuple[Entry, Stored, Conversion]:
    """Return the first checkpoint that can be read and fits our model. Raises RunError, the first one's, if none."""
    wrong: RunError | None = None
    for entry in source.listing.entries:
        try:
            stored = source.reader.read(entry)
            return entry, stored, fit(stored)
        except (Unreadable, Unfit) as error:
            words = str(error) if entry.name in str(error) else f"{entry.name}: {error}"
            wrong = wrong or RunError(words)
    raise wrong or RunError(f"{source.folder} holds no checkpoints")


def subject_of(source: Source, stored: Stored, model: Model, text_file: Path | None,
               given: Mapping[str, Any]) -> Subject:
    """Return what the checkpoints of a source are examined with. `given` may hold `bptt` and `loss`.

    Raises CorpusError if the text or its vocabulary does not fit.
    """
    characters = stored.vocabulary or source.vocabulary
    remarks: list[str] = []
    kept = dict(source.kept.get("config", {}))
    share = float(kept.get("val", VALIDATION))
    text = _text(source, text_file, share, kept)
    if characters is None:
        characters = text.vocabulary
        if len(characters) != model.characters:
            raise CorpusError(f"{text.name} has {len(characters)} different characters and the model "
                              f"{model.characters}; give the text that it was trained on, or its characters by "
                              "--vocabulary FILE")
        remarks.append("no vocabulary lies beside the checkpoints: taken to be the text's characters in order")
    if len(characters) != model.characters:
        raise CorpusError(f"the vocabulary has {len(characters)} characters and the model {model.characters}; name "
                          "another one by --vocabulary FILE")
    order = sorted(range(len(characters)), key=lambda i: characters[i])
    ours = "".join(characters[i] for i in order)
    if ours != text.vocabulary:
        text = _recoded(text, ours, remarks)
    config = Config(cell=model.cell, layers=model.layers, hidden=model.hidden, embedding=model.embedding,
                    loss=str(given.get("loss") or kept.get("loss") or source.reader.loss),
                    bptt=int(given.get("bptt") or kept.get("bptt") or source.reader.bptt),
                    device="cpu", precision="fp32", val=share)
    return Subject(model, config, text, tuple(order), tuple(remarks))


def in_our_order(weights: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """Return parameters with the characters in our order instead of the checkpoint's."""
    order = list(subject.order)
    if order == list(range(len(order))):
        return dict(weights)
    turned = dict(weights)
    first = f"{subject.model.cell}.weight_ih_l0"
    for name in ("embedding.weight", "head.weight", "head.bias"):
        if name in turned:
            turned[name] = np.ascontiguousarray(turned[name][order])
    if subject.model.embedding == "onehot":
        turned[first] = np.ascontiguousarray(turned[first][:, order])
    return turned


def _text(source: Source, path: Path | None, share: float, kept: Mapping[str, Any]) -> Corpus:
    if path is not None:
        return corpus.load(path, encoding=str(kept.get("encoding", "utf-8")), errors=str(kept.get("errors", "strict")),
                           limit=int(kept.get("limit", 0)), val=share)
    run = source.run
    if run is None:
        raise UsageError("which text? Give the one that the model was trained on, by --corpus FILE")
    if run.corpus.exists():
        size = source.kept.get("corpus_bytes")
        return corpus.load_copy(run.corpus, str(source.kept.get("corpus_name", "corpus")), share, size)
    named = Path(str(kept.get("corpus", "")))
    if not named.is_file():
        raise CorpusError(f"{run.path} has no copy of its text; name it by --corpus FILE")
    return _text(source, named, share, kept)


def _recoded(text: Corpus, characters: str, remarks: list[str]) -> Corpus:
    """Return a text in the numbers of another vocabulary. Raises CorpusError if too much of it is not in that."""
    known = {c: i for i, c in enumerate(characters)}
    table = np.array([known.get(c, len(characters)) for c in text.vocabulary], dtype=np.uint32)
    ids = table[text.ids]
    missing = "".join(c for c in text.vocabulary if c not in known)
    kept = ids < len(characters)
    lost = 1 - float(kept.mean())
    if lost > UNKNOWN:
        raise CorpusError(f"{lost:.1%} of {text.name} is characters that the vocabulary has not ({missing[:20]!r}); "
                          "give the text that the model was trained on")
    if missing:
        remarks.append(f"{len(ids) - int(kept.sum()):,} characters of {text.name} are not in the vocabulary and are "
                       f"left out ({missing[:20]!r})")
    split = int(kept[: text.split].sum())
    return replace(text, vocabulary=characters, ids=ids[kept], split=min(max(split, 2), int(kept.sum()) - 2))
