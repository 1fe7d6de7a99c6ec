"""Check a run for damage: configuration, text, journal and every checkpoint; repair it. Prints a table.

example: tuitrain verify runs/copperfield-1
"""

import argparse
import sys
from pathlib import Path

from tuitrain.errors import ERROR, FINISHED, CorpusError, RunError, TuitrainError
from tuitrain.run import repair as mend
from tuitrain.run import verify
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.units import safe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run and whether to repair it."""
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument("--repair", action="store_true",
                        help="rebuild what another copy is there of; damaged files go to "
                             f"{mend.ASIDE}/ of the run, nothing is deleted")


def run(arguments: argparse.Namespace) -> int:
    """Print a row for each thing that was checked; returns 1 if anything damaged is still in place."""
    folder = RunDirectory(Path(arguments.run))
    if not folder.path.is_dir():
        folder.read_config()  # raises: this is not a run
    lock = folder.lock() if arguments.repair else None
    try:
        if lock is not None:
            _config(folder)
        findings = list(verify.check(folder, lambda kept: _text(folder, kept)))
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            print(safe(f"{finding.what.ljust(width)}  {finding.state.ljust(7)}  {finding.why}").rstrip())
        damaged = [finding for finding in findings if finding.state == verify.DAMAGED]
        if lock is not None:
            for moved in verify.set_aside(folder, damaged):
                print(safe(f"moved to {moved}"))
            damaged = [finding for finding in damaged if not finding.files and not _repaired(folder, finding)]
    finally:
        if lock is not None:
            lock.release()
    if not damaged:
        return FINISHED
    remedy = "" if arguments.repair else (
        f"; `tuitrain verify --repair {folder.path}` rebuilds what it can and moves damaged files away")
    print(f"tuitrain: {len(damaged)} of {len(findings)} are damaged{safe(remedy)}", file=sys.stderr)
    return ERROR


def _config(folder: RunDirectory) -> None:
    """Rebuild config.json if it is damaged, before anything that is checked by it."""
    from tuitrain.charlstm import repair

    try:
        folder.read_config()
    except RunError:
        try:
            print(safe(repair.config(folder)))
        except (OSError, TuitrainError) as error:
            print(safe(f"{folder.config.name}: {error}"))


def _repaired(folder: RunDirectory, finding: verify.Finding) -> bool:
    """Rebuild a damaged text or journal; says what was done or why not."""
    from tuitrain.charlstm import repair

    try:
        if finding.what == folder.corpus.name:
            print(safe(repair.text(folder, folder.read_config())))
        elif finding.what == folder.journal.name and folder.journal.is_file():
            count = 0

            def rewrite() -> None:
                nonlocal count
                count = mend.rewrite_journal(folder)

            kept = mend.put_back(folder, folder.journal.name, rewrite)
            print(safe(f"rebuilt {folder.journal.name} from its {count:,} intact lines; the damaged one is {kept}"))
        else:
            return False
    except (OSError, TuitrainError) as error:
        print(safe(f"{finding.what}: it cannot be rebuilt: {error}"))
        return False
    return True


def _text(folder: RunDirectory, kept: dict[str, object]) -> str:
    """Describe the run's copy of its text. Raises CorpusError if it is damaged."""
    from tuitrain.charlstm.text import corpus
    from tuitrain.cli.options import is_script_run

    if is_script_run(kept):
        return "a run of a script has no text"
    if not folder.corpus.exists():
        return "the run has no copy of its text"
    size = kept.get("corpus_bytes")
    text = corpus.load_copy(folder.corpus, str(kept.get("corpus_name", "")), 0.1,
                            size if isinstance(size, int) else None)
    if text.sha256 != kept.get("corpus_sha256"):
        raise CorpusError("not the text that the run started with; name that one with --corpus when you resume")
    return f"{len(text.ids):,} characters"
