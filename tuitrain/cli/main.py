"""Entry point of `tuitrain`: runs the subcommand and turns every error into one line and an exit code."""

import argparse
import contextlib
import importlib
import os
import re
import resource
import sys
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from tuitrain import __version__
from tuitrain.cli import streams
from tuitrain.cli.signals import EndedEarly
from tuitrain.errors import ERROR, FINISHED, INTERRUPTED, TuitrainError, UsageError, is_out_of_memory, nearest

SUBCOMMANDS = {
    "train": "train (the default: `tuitrain CORPUS` is enough)",
    "resume": "continue a run exactly where it stopped",
    "run": "start a script that calls tuitrain.watch, with the cockpit on it",
    "attach": "watch and steer a live run",
    "replay": "watch a recorded run again",
    "send": "send one command to a live run",
    "sample": "draw text from a checkpoint",
    "futures": "try other knobs from a checkpoint",
    "helped": "judge an intervention by a control without it",
    "lr-find": "find a learning rate for a text",
    "clip-find": "find a clip",
    "runs": "list runs in a table",
    "autopsy": "find where old checkpoints of any origin broke",
    "adopt": "make a run of one and train on",
    "compare": "compare runs side by side: numbers, curves, settings, samples",
    "export": "write a run as csv, parquet, tensorboard, svg or html",
    "reenact": "train a run again and compare all losses",
    "verify": "check every file of a run for damage",
    "help": "explain words of the screen",
    "completion": "complete your typing in a shell",
    "drill": "practise spotting faults",
    "fetch": "download a public-domain book",
    "selftest": "check this CPU or GPU",
    "bench": "measure speed as ratios",
}
TOGETHER = {"futures": "helped", "lr-find": "clip-find", "autopsy": "adopt", "help": "completion", "drill": "fetch",
            "selftest": "bench", "reenact": "verify"}
"""Commands that share a line of the help with the next."""
NEAR = 100_000_000
"""Bytes: this close to the limit of the address space, any odd error is attributed to the limit."""


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one line, with the nearest valid name."""

    def print_help(self, file: Any = None) -> None:
        """Print the help; unlike argparse, raise an error if standard output cannot be written."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing the usage."""
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown and not unknown[1].startswith("-"):
            raise UsageError(f"{unknown[1]}: unexpected argument; see `--help`")
        if unknown:
            raise UsageError(f"no such option: {unknown[1]}{self._near(unknown[1])}")
        raise UsageError(message)

    def _near(self, option: str) -> str:
        known = list(self._option_string_actions)
        near = nearest(option.split("=")[0], known, 0.5)
        return f"; did you mean {near}?" if near else "; `--help` lists them"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    if argv is None:
        streams.prepare()
    code = _guarded(list(sys.argv[1:] if argv is None else argv))
    streams.silence()
    return code


def _guarded(words: list[str]) -> int:
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except TuitrainError as error:
        _complain(str(error))
        return error.exit_code
    except (KeyboardInterrupt, EndedEarly) as early:
        _complain("interrupted before training began; nothing was lost")
        code = early.exit_code if isinstance(early, EndedEarly) else INTERRUPTED
        if threading.active_count() > 1:
            os._exit(code)  # a thread inside torch cannot be awaited, and must not outlive the interpreter
        return code
    except BrokenPipeError:
        return FINISHED  # the reader closed the pipe
    except streams.OutputError as error:
        _complain(f"standard output: {error.strerror or error}")
        return ERROR
    except Exception as error:
        # A bug, or trouble with the machine: one line, and how to see more.
        if os.environ.get("TUITRAIN_TRACEBACK"):
            raise
        if is_out_of_memory(error) or is_at_the_limit(error):
            reason = (str(error) or type(error).__name__) + _limit()
            _complain(f"not enough memory ({reason}); end other programs, raise the limit "
                      "(`ulimit -v`, a container's), or take a smaller --hidden, --layers or --batch-size")
            return ERROR
        _complain(f"unexpected {type(error).__name__}: {str(error) or 'no message'}; "
                  "TUITRAIN_TRACEBACK=1 shows where")
        return ERROR


def _limit() -> str:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return "" if limit == resource.RLIM_INFINITY else f", `ulimit -v` grants {limit / 1e6:,.0f} MB"


def is_at_the_limit(error: Exception) -> bool:
    """Return whether an error is due to a nearly exhausted address space, where libraries fail with any error."""
    if not isinstance(error, SystemError | ImportError | RuntimeError | AttributeError):
        return False
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    with contextlib.suppress(OSError, ValueError, StopIteration), open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmPeak"))
        return limit != resource.RLIM_INFINITY and peak > limit - NEAR
    return False


def _dispatch(words: list[str]) -> int:
    if words and words[0] in ("-V", "--version"):
        print(f"tuitrain {__version__}")
        return 0
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    if words and words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if not words or words[0] not in SUBCOMMANDS:
        _check_word(words)
        words = ["train", *words]
    module, parser = _parser(words[0])
    try:
        arguments = parser.parse_args(words[1:])
    except SystemExit:  # the help was printed
        return FINISHED
    return int(module.run(arguments))


def _parser(command: str) -> tuple[ModuleType, Parser]:
    module = importlib.import_module(f"tuitrain.cli.{command.replace('-', '_')}")
    parser = Parser(prog=f"tuitrain {command}" if command != "train" else "tuitrain", description=module.__doc__,
                    allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    return module, parser


def _complete() -> None:
    """Answer a shell that asks for completions."""
    from tuitrain.cli.completion import answer

    typed = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "0")) or None].split(" ")
    begun = len(typed) > 2 and typed[1]
    command = typed[1] if begun and typed[1] in SUBCOMMANDS else "train"
    answer(_parser(command)[1], command, () if begun else tuple(SUBCOMMANDS))


def _check_word(words: list[str]) -> None:
    """Raise UsageError for a first word that is no file but almost a subcommand."""
    if words and not words[0].startswith("-") and not os.path.exists(words[0]) and os.sep not in words[0]:
        near = nearest(words[0], SUBCOMMANDS, 0.7)
        if near and "." not in words[0]:
            raise UsageError(f"{words[0]} is neither a file nor a command; did you mean {near}?")


def _help() -> str:
    lines = ["Train a character LSTM or GRU on a text and steer it while it learns.", "",
             "  tuitrain [CORPUS] [options]    train; without CORPUS on the text that ships with the package"]
    for name in SUBCOMMANDS:
        if name != "train" and name not in TOGETHER.values():
            names = [name, *([TOGETHER[name]] if name in TOGETHER else [])]
            lines.append(f"  tuitrain {', '.join(names):<22} {'; '.join(SUBCOMMANDS[each] for each in names)}")
    lines += ["", "example: tuitrain copperfield.txt --no-ui --minutes 10",
              "`tuitrain train --help` lists the options of training, `tuitrain COMMAND --help` those of a command.",
              "exit codes: 0 finished or stopped, 1 error, 2 usage, 3 diverged, 75 out of time (resume it),",
              "130 interrupted, 131 quit, 143 terminated; the last four after saving a checkpoint"]
    return "\n".join(lines)


def _complain(message: str) -> None:
    line = " ".join(message.split())
    safe = "".join(c if c.isprintable() else "�" for c in line)
    with contextlib.suppress(OSError):
        print(f"tuitrain: {safe}", file=sys.stderr)


