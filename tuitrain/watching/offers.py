"""What a watched loop can do, and for the rest the reason that the cockpit shows. May grow during the run."""

from dataclasses import replace
from typing import Any

from tuitrain.protocol import commands as c
from tuitrain.protocol.capabilities import EVERYTHING, Capabilities, LossUnit
from tuitrain.protocol.facts import AFTER_CLIPPING, BEFORE_CLIPPING

NO_SAMPLE = "the script draws no samples: `pilot.sample(fn, every='30s')` would"
NO_EVALUATION = "the script measures no validation loss: `pilot.evaluate(fn, every=500)` would"
NO_CLIP = "the script clips by itself or not at all: `pilot.clip_grad_norm_` would make the clip a knob"
NO_INSIDE = "the model of a script cannot be looked into"
NO_RACE = "an arm of a race is trained by tuitrain, which does not have the script's model"
NO_PROMPT = "the samples of a script have no prompt and no temperature"
NO_ADVICE = "the norms of this loop are those after its clip, so they cannot advise one"
BY_VALUE = "the script clips each element of the gradient, not its norm"
SEVERAL = ("this is process 0 of several, of which some did not call `tuitrain.watch` or have other weights, so it "
           "cannot be steered")
STEERS = (c.SetKnob, c.ScaleKnob, c.Rollback, c.Undo, c.Land, c.Pause, c.Continue, c.Stop)
RACES = (c.StartRace, c.CutArm, c.CancelRace, c.ChooseArm, c.JudgeIntervention)


class Offers:
    """The capabilities of a watched loop: `facts` for the beginning of the run, `news` for changes since."""

    def __init__(self, unit: LossUnit, total_steps: int, resumes: str, *, steered: bool = True) -> None:
        self.unit, self.total_steps, self.resumes, self._steered = unit, total_steps, resumes, steered
        self.samples = self.evaluates = self.clips = self.sees_before = False
        self.lacking: dict[str, str] = {}
        """Further commands and knobs that this loop does not offer, each with the reason."""
        self.remarks: list[str] = []
        self._seen: tuple[Any, ...] = ()

    def capabilities(self) -> Capabilities:
        """Return the capabilities as of now."""
        commands = dict(EVERYTHING.commands)
        commands |= {c.LookInside.__name__: NO_INSIDE, c.KeepBlackBox.__name__: NO_INSIDE,
                     c.SetPrompt.__name__: NO_PROMPT,
                     c.DrawSample.__name__: "" if self.samples else NO_SAMPLE,
                     c.Evaluate.__name__: "" if self.evaluates else NO_EVALUATION}
        commands |= {kind.__name__: NO_RACE for kind in RACES}
        if not self._steered:
            commands |= {kind.__name__: SEVERAL for kind in STEERS}
        knobs = {**EVERYTHING.knobs, "temperature": NO_PROMPT, "prompt": NO_PROMPT,
                 "clip": "" if self.clips else NO_CLIP}
        commands |= {name: why for name, why in self.lacking.items() if name in commands}
        knobs |= {name: why for name, why in self.lacking.items() if name in knobs}
        return replace(EVERYTHING, commands=commands, knobs=knobs, loss=self.unit, resumes=self.resumes)

    def why_not(self, command: c.Command) -> str:
        """Return why a command cannot be carried out; empty if it can."""
        now = self.capabilities()
        if isinstance(command, c.SetKnob) and (command.name, command.value) == ("clip", "auto") and self.sees_after:
            return now.why_not(command) or NO_ADVICE
        weights = isinstance(command, c.Undo) and command.weights
        return now.why_not(command) or (now.why_not(c.Rollback) if weights else "")

    @property
    def sees_after(self) -> bool:
        """Whether the clip is a knob, and the norms are those after it."""
        return self.clips and not self.sees_before

    def facts(self) -> dict[str, Any]:
        """Return the facts for the beginning of the run."""
        self._seen = self._now()
        return {**self.capabilities().to_facts(), "norms": BEFORE_CLIPPING if self.sees_before else AFTER_CLIPPING}

    def news(self) -> dict[str, Any] | None:
        """Return the facts if they have changed since they were last returned.

        Cheap, as it is called several times a second.
        """
        return None if self._now() == self._seen else self.facts()

    def _now(self) -> tuple[Any, ...]:
        return self.samples, self.evaluates, self.clips, self.sees_before, len(self.lacking)
