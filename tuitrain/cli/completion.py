"""Print the shell code that completes commands, options, runs and texts of tuitrain.

bash: add  eval "$(tuitrain completion bash)"  to ~/.bashrc; zsh the same with zsh in ~/.zshrc.

example: tuitrain completion fish > ~/.config/fish/completions/tuitrain.fish
"""

import argparse
import os
from pathlib import Path
from typing import Any

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the shell."""
    parser.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS), help="the shell to print the code for")


def run(arguments: argparse.Namespace) -> int:
    """Print the code that argcomplete generates."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["tuitrain"], shell=arguments.shell))
    return 0


def answer(parser: argparse.ArgumentParser, command: str, first: tuple[str, ...]) -> None:
    """Print the completions the shell asked for, and exit. `first` are further words for the first argument."""
    import argcomplete

    for action in parser._actions:
        if action.dest in ("run", "runs") and not action.option_strings:
            action.completer = _runs  # type: ignore[attr-defined]
        elif action.dest == "device":
            action.completer = lambda **_: ("auto", "cpu", "cuda")  # type: ignore[attr-defined]
        elif action.dest == "words":
            from tuitrain.cli.send import NAMES

            action.completer = lambda **_: NAMES  # type: ignore[attr-defined]
        elif action.dest == "name":
            from tuitrain.books import BOOKS

            action.completer = lambda **_: [book.name for book in BOOKS]  # type: ignore[attr-defined]
        elif action.dest == "corpus" and not action.option_strings:
            action.completer = lambda prefix, **_: [*first, *_files(prefix)]  # type: ignore[attr-defined]
    if command != "train":
        os.environ["_ARGCOMPLETE"] = "2"  # the command itself is no argument
    argcomplete.autocomplete(parser, always_complete_options=False)


def _files(prefix: str) -> list[str]:
    from argcomplete.completers import FilesCompleter

    return list(FilesCompleter()(prefix))


def _runs(prefix: str, **_: Any) -> list[str]:
    from tuitrain.run.directory import find_runs

    folder = Path(prefix).parent if prefix else Path()
    places = [folder, Path("runs")] if folder == Path() else [folder]
    return [str(run.path) for place in places for run in find_runs(place)]
