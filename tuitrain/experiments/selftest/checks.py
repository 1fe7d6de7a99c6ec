"""The result of a check, and what a check raises if it fails or does not apply."""

from collections.abc import Callable
from dataclasses import dataclass

OK, FAILED, NOT_APPLICABLE = "ok", "failed", "not applicable"


@dataclass(frozen=True, slots=True)
class Check:
    """Name of a check, its result (`OK`, `FAILED` or `NOT_APPLICABLE`) and details in words."""

    name: str
    state: str
    detail: str


class Failed(Exception):
    """The device does not do what is promised."""


class NotApplicable(Exception):
    """There is nothing to check on this device."""


def outcome(name: str, look: Callable[[], str]) -> Check:
    """Run one check; an error of any kind ends only this check."""
    try:
        return Check(name, OK, look())
    except NotApplicable as why:
        return Check(name, NOT_APPLICABLE, str(why))
    except Failed as why:
        return Check(name, FAILED, str(why))
    except Exception as error:
        return Check(name, FAILED, f"{type(error).__name__}: {first_line(error)}")


def first_line(error: Exception) -> str:
    """Return the first line of an error message, which from a GPU may be a page long."""
    return (str(error).strip() or "no message").splitlines()[0]
