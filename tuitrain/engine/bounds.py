"""Limits on the fields of commands, whoever sends them. Knows no run."""

from tuitrain.errors import Refused
from tuitrain.protocol import commands as c

MAX_NAME, MAX_REASON = 200, 500
"""Maximum characters of a command's sender and id, and of the reason for a stop or a refusal."""
MAX_ARMS, FARTHEST = 24, 10**9
"""Maximum arms of a race, and steps of one."""
EXIT_CODES = range(256)
"""The exit codes that a process can have."""


def check_bounds(command: c.Command) -> None:
    """Raise Refused if a field of a command is out of range."""
    for name in ("id", "by"):
        if len(getattr(command, name)) > MAX_NAME:
            raise Refused(f"{name} has more than {MAX_NAME} characters")
    match command:
        case c.Stop():
            if command.exit_code not in EXIT_CODES:
                raise Refused(f"exit code {command.exit_code}: a process ends with one of 0 to 255")
            if len(command.reason) > MAX_REASON:
                raise Refused(f"a reason has at most {MAX_REASON} characters")
        case c.StartRace():
            if len(command.arms) > MAX_ARMS or any(len(text) > MAX_NAME for text in command.arms):
                raise Refused(f"a race has at most {MAX_ARMS} arms, each in at most {MAX_NAME} characters")
            if not 1 <= command.steps <= FARTHEST:
                raise Refused(f"{command.steps} steps: give a number from 1 to {FARTHEST:,}")
        case (c.Rollback(point=word) | c.ChooseArm(arm=word) | c.SetKnob(name=word) | c.ScaleKnob(name=word)
              | c.SetGuardMode(mode=word)):
            if len(word) > MAX_NAME:
                raise Refused(f"no name has more than {MAX_NAME} characters")
