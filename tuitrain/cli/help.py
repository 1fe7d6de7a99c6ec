"""Explain the words on the screen; without a word, all of them.

example: tuitrain help bpc
"""

import argparse
import textwrap

from tuitrain.errors import UsageError
from tuitrain.telemetry.glossary import PANES, WORDS, explain

WIDTH = 78


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the word."""
    parser.add_argument("word", metavar="WORD", nargs="*", help="a word of the screen, such as bpc or clip")


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation of a word, or all of them. Raises UsageError for an unknown word."""
    word = " ".join(arguments.word)
    if not word:
        _print({f"{name} pane": text for name, text in PANES.items()} | WORDS)
        return 0
    try:
        _print({word: explain(word)})
    except KeyError as error:
        about = {name: text for name, text in {**WORDS, **{f"{n} pane": t for n, t in PANES.items()}}.items()
                 if word.lower() in name}
        if len(word) > 2 and about:
            _print(about)
            return 0
        near = error.args[0]
        raise UsageError(f"help {word}: no such word; "
                         + (f"did you mean {near}?" if near else "`tuitrain help` shows all")) from None
    return 0


def _print(texts: dict[str, str]) -> None:
    for word, text in texts.items():
        print(textwrap.fill(f"{word}: {text}", WIDTH, subsequent_indent="    "))
