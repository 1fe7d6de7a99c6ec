"""What a watched loop offers and what it lacks, in the words that the cockpit shows. It may grow while it runs."""

from dataclasses import replace
from typing import Any

from tuitrain.protocol import commands as c
from tuitrain.protocol.capabilities import EVERYTHING, Capabilities, LossUnit

NO_SAMPLE = "the script draws no samples: `pilot.sample(fn, every='30s')` would"
NO_EVALUATION = "the script measures no validation loss: `pilot.evaluate(fn, every=500)` would"
NO_CLIP = "the script clips by itself or not at all: with `pilot.clip_grad_norm_` in its place the clip is a knob"
NO_INSIDE = "nobody knows what is inside the model of a script"
NO_PROMPT = "the samples of a script have no prompt and no temperature"
BY_VALUE = "each element of the gradient is clamped, which is another thing than the clip of its norm"
SEVERAL = "several processes train this model together, so none of them may be steered alone"
BEFORE, AFTER = "before clipping", "after your own clipping"
STEERS = (c.SetKnob, c.ScaleKnob, c.Rollback, c.Undo, c.Land, c.Pause, c.Continue, c.Stop)


class Offers:
    """Asked for at the beginning of a run; `news` says what has changed since."""

    def __init__(self, unit: LossUnit, total_steps: int, resumes: str, *, alone: bool = True) -> None:
        self.unit, self.total_steps, self._resumes, self._alone = unit, total_steps, resumes, alone
        self.samples = self.evaluates = self.clips = self.sees_before = False
        self.lacking: dict[str, str] = {}
        """Commands and knobs that this loop does not offer beside, with the reason."""
        self.remarks: list[str] = []
        self._seen: tuple[Any, ...] = ()

    def capabilities(self) -> Capabilities:
        """As of now."""
        commands = dict(EVERYTHING.commands)
        commands |= {c.LookInside.__name__: NO_INSIDE, c.KeepBlackBox.__name__: NO_INSIDE,
                     c.SetPrompt.__name__: NO_PROMPT,
                     c.DrawSample.__name__: "" if self.samples else NO_SAMPLE,
                     c.Evaluate.__name__: "" if self.evaluates else NO_EVALUATION}
        if not self._alone:
            commands |= {kind.__name__: SEVERAL for kind in STEERS}
        knobs = {**EVERYTHING.knobs, "temperature": NO_PROMPT, "prompt": NO_PROMPT,
                 "clip": "" if self.clips else NO_CLIP}
        commands |= {name: why for name, why in self.lacking.items() if name in commands}
        knobs |= {name: why for name, why in self.lacking.items() if name in knobs}
        return replace(EVERYTHING, commands=commands, knobs=knobs, loss=self.unit, resumes=self._resumes)

    def why_not(self, command: c.Command) -> str:
        """Why a command is not carried out; empty if it is."""
        now = self.capabilities()
        weights = isinstance(command, c.Undo) and command.weights
        return now.why_not(command) or (now.why_not(c.Rollback) if weights else "")

    def facts(self) -> dict[str, Any]:
        """For the beginning of the run."""
        self._seen = self._now()
        return {**self.capabilities().to_facts(), "norms": BEFORE if self.sees_before else AFTER}

    def news(self) -> dict[str, Any] | None:
        """The facts if they have changed since they were told. Asked a few times a second, so it must cost nothing."""
        return None if self._now() == self._seen else self.facts()

    def _now(self) -> tuple[Any, ...]:
        return self.samples, self.evaluates, self.clips, self.sees_before, len(self.lacking)
