"""The arms of a race: which knobs each turns, as a person writes them, and which are worth a try. Knows no training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tuitrain.diagnosis.clip_advisor import ClipAdvice
from tuitrain.errors import Refused, UsageError
from tuitrain.knobs import Knobs, Value, number_in, wish
from tuitrain.telemetry.units import number

AS_IT_IS = "as it is"
RATES = ("x0.5", "x0.25", "x0.1")
BOTH = "x0.25"
"""The rate that goes with the advised clip: where weights have grown, neither is enough alone."""
ALIKE = 0.1
"""Relative difference of two clips below which they are not worth an arm each."""
MOST = 24


@dataclass(frozen=True, slots=True)
class Arm:
    """What a future turns, in the words of the command line (`x0.25`, `1`, `off`, `auto`); empty: as it is."""

    lr: str = ""
    clip: str = ""

    @property
    def name(self) -> str:
        """In words."""
        turned = [f"{name} {text}" for name, text in (("clip", self.clip), ("lr", self.lr)) if text]
        return ", ".join(turned) or AS_IT_IS

    @property
    def stem(self) -> str:
        """As the name of a folder."""
        return self.name.replace(", ", "-").replace(" ", "-")

    def values(self, now: Knobs) -> Mapping[str, Value]:
        """The values of the knobs that it turns, where `now` are in force. Raises UsageError naming the bound."""
        asked = {name: text for name, text in (("lr", self.lr), ("clip", self.clip)) if text}
        try:
            return {name: wish(name, text).of(name, getattr(now, name)) for name, text in asked.items()}
        except Refused as refusal:
            raise UsageError(str(refusal)) from None

    def knobs(self, now: Knobs) -> Knobs:
        """All knobs of the arm. Raises UsageError."""
        for name, value in self.values(now).items():
            now = now.turned(name, value)
        return now


def parse(text: str) -> Arm:
    """`lr=x0.25 clip=1`, either or both. Raises UsageError."""
    found: dict[str, str] = {}
    for part in text.replace(",", " ").split():
        name, equals, value = part.partition("=")
        if name not in ("lr", "clip") or not equals or not value or name in found:
            raise UsageError(f"--arm {text!r}: write lr=VALUE or clip=VALUE or both, such as \"lr=x0.25 clip=1\"")
        found[name] = checked(name, value)
    return Arm(**found)


def checked(name: str, text: str) -> str:
    """The text of a knob's value, if it is one; a factor is written `x0.5`. Raises UsageError."""
    wish(name, text)
    return f"x{number_in(name, text[1:]):g}" if text.startswith("x") else text


def proposed(advice: ClipAdvice | None, now: Knobs) -> list[Arm]:
    """The arms of a race for which nothing was named: the advised clip and the ends of its range, lower rates, both."""
    clips = [] if advice is None else [advice.value, advice.low, advice.high]
    texts: list[str] = []
    for clip in clips:
        others = [now.clip, *map(float, texts)]
        if not any(other and abs(clip - other) <= ALIKE * other for other in others):
            texts.append(number(clip))
    arms = [Arm(), *(Arm(clip=text) for text in texts), *(Arm(lr=text) for text in RATES)]
    if texts and advice is not None and texts[0] == number(advice.value):
        arms.append(Arm(lr=BOTH, clip=texts[0]))
    return arms


def lined_up(arms: Iterable[Arm], now: Knobs) -> list[Arm]:
    """These arms, as it is first and none twice. Raises UsageError for one that cannot be, or if they are too many."""
    chosen: list[Arm] = []
    seen: list[Knobs] = []
    for arm in (Arm(), *arms):
        knobs = arm.knobs(now)
        if knobs not in seen:
            seen.append(knobs)
            chosen.append(arm)
    if len(chosen) > MOST:
        raise UsageError(f"{len(chosen)} arms: a race has at most {MOST}")
    return chosen


def asked(clips: Sequence[str], rates: Sequence[str], texts: Sequence[str]) -> list[Arm]:
    """The arms that a person named by `--clip`, `--lr` and `--arm`. Raises UsageError."""
    arms = [Arm(clip=checked("clip", text)) for text in clips] + [Arm(lr=checked("lr", text)) for text in rates]
    return arms + [parse(text) for text in texts]
