"""A run's damaged config.json and copy of its text, put back from what else there is of them."""

from pathlib import Path
from typing import Any

from tuitrain.charlstm.text import corpus
from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.errors import CorpusError, RunError
from tuitrain.run import repair
from tuitrain.run.directory import RunDirectory


def config(run: RunDirectory) -> str:
    """Write config.json anew; returns from what. Raises RunError or OSError if that is not possible."""
    sources: list[str] = []

    def text(body: dict[str, Any]) -> dict[str, Any]:
        if body["config"].get("kind") == "watched":
            return {"corpus_sha256": ""}
        found, where = _text(run, body)
        sources.append(where)
        size = len(found.text().encode("utf-8", "surrogatepass"))
        copied = {"corpus_bytes": size} if run.corpus.exists() else {}
        return {"corpus_sha256": found.sha256, **copied}

    body = repair.config_of(run, text)
    kept = repair.put_back(run, run.config.name, lambda: run.write_config(body))
    return _sentence(run.config.name, " and ".join(["the journal", *sources]), kept)


def text(run: RunDirectory, kept: dict[str, Any]) -> str:
    """Write the copy of the text anew from the file that the run began with. Raises RunError or OSError."""
    source = Path(str(kept.get("config", {}).get("corpus", "")))
    found = _original(source, kept)
    if found.sha256 != kept.get("corpus_sha256"):
        raise RunError(f"{source} is not the text any more that the run started with")
    aside = repair.put_back(run, run.corpus.name, lambda: corpus.save_copy(found, run.corpus))
    return _sentence(run.corpus.name, str(source), aside)


def _text(run: RunDirectory, body: dict[str, Any]) -> tuple[Corpus, str]:
    """Return the text of a run and where it was found: the copy, or else the file that the run began with."""
    source = Path(str(body["config"].get("corpus", "")))
    for read, where in ((lambda: corpus.load_copy(run.corpus, body["corpus_name"], 0.1), run.corpus.name),
                        (lambda: _original(source, body), str(source))):
        try:
            found = read()
        except (CorpusError, RunError):
            continue
        if found.vocabulary == body["vocabulary"]:
            return found, where
    raise RunError("it cannot be rebuilt: neither the copy of the text nor the file that the run began with has its "
                   "characters")


def _original(path: Path, kept: dict[str, Any]) -> Corpus:
    settings = kept.get("config", {})
    if not path.is_file():
        raise RunError(f"the file that the run began with is not at {path} any more")
    try:
        return corpus.load(path, encoding=str(settings.get("encoding", "utf-8")),
                           errors=str(settings.get("errors", "strict")), limit=int(settings.get("limit", 0)))
    except CorpusError as error:
        raise RunError(str(error)) from None


def _sentence(name: str, source: str, kept: str) -> str:
    return f"rebuilt {name} from {source}" + (f"; the damaged one is {kept}" if kept else "")
