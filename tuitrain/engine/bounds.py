"""What a command from anybody may say at most, whatever it asks. Knows no run."""

from tuitrain.errors import Refused
from tuitrain.protocol import commands as c

MAX_NAME, MAX_REASON = 200, 500
"""Characters of who asks and of the command's id; of why a run was stopped or a command refused."""
EXIT_CODES = range(256)
"""What a process can end with."""


def check_bounds(command: c.Command) -> None:
    """Raises Refused for what no person and no part of this program would ask."""
    for name in ("id", "by"):
        if len(getattr(command, name)) > MAX_NAME:
            raise Refused(f"{name} has more than {MAX_NAME} characters")
    match command:
        case c.Stop():
            if command.exit_code not in EXIT_CODES:
                raise Refused(f"exit code {command.exit_code}: a process ends with one of 0 to 255")
            if len(command.reason) > MAX_REASON:
                raise Refused(f"a reason has at most {MAX_REASON} characters")
        case c.Rollback(point=word) | c.SetKnob(name=word) | c.ScaleKnob(name=word) | c.SetGuardMode(mode=word):
            if len(word) > MAX_NAME:
                raise Refused(f"no name has more than {MAX_NAME} characters")
