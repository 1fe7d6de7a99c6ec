"""Keys that change knobs: learning rate, clip, temperature, prompt. In a replay some control the playback."""

from typing import Any

from textual.app import App

from tuitrain.protocol import commands as c
from tuitrain.telemetry.units import number
from tuitrain.ui.actions.asking import Asking
from tuitrain.ui.dialogs import AskValue
from tuitrain.ui.link import Link
from tuitrain.ui.values import read, rung, shown, wild, would_have_clipped


class Turning:
    """Actions of these keys, one method each; the engine confirms or refuses."""

    def __init__(self, app: App[int], link: Link, asking: Asking) -> None:
        self._app, self._link, self._asking = app, link, asking

    def scale_lr(self, factor: float) -> None:
        """Multiply the learning rate; in a replay the speed."""
        if self._link.tape is not None:
            self._link.tape.faster(factor)
            return self._asking.show()
        now = self._asking.knob("lr")
        self._asking.ask(c.ScaleKnob, "lr", (now or 0.0) * factor, name="lr", factor=factor)

    def step_clip(self, rungs: int) -> None:
        """Set the clip to the next value of the ladder; in a replay go to the next event or the one before."""
        if self._link.tape is not None:
            self._link.tape.to_event(rungs)
            return self._asking.show()
        value = rung(float(self._asking.knob("clip") or 0), rungs)
        self._asking.ask(c.SetKnob, "clip", value, name="clip", value=value)

    def scale_temperature(self, by: float) -> None:
        """Raise or lower all temperatures; in a replay jump by a twentieth."""
        if self._link.tape is not None:
            self._link.tape.jump(by)
            return self._asking.show()
        now = self._asking.knob("temperature") or ()
        value = tuple(round(max(0.05, t + by), 3) for t in now)
        self._asking.ask(c.SetKnob, "temperature", value, name="temperature", value=value)

    def auto_clip(self) -> None:
        """Let the clip follow the run's own norms, or fix it at its present value."""
        value = float(self._link.state.knobs.get("clip") or 0) if self._link.state.knobs.get("clip_auto") else "auto"
        self._asking.ask(c.SetKnob, "clip", value, name="clip", value=value)

    def type_lr(self) -> None:
        """Ask for a learning rate."""
        if not self._asking.offered("type_lr"):
            return
        def preview(text: str) -> tuple[bool, str]:
            now = self._asking.now("lr")
            asked, value, why = read("lr", text, now)
            turn = "" if value == now else f" → {number(float(value), 4)}"  # type: ignore[arg-type]
            return asked is not None, why or f"base rate {number(now, 4)}{turn}; in force = this times the schedule"

        self._type("learning rate: a value, or x0.5 for half of it", "lr", preview,
                   doubt=lambda text: wild(read("lr", text, self._asking.now("lr"))[1], self._asking.now("lr")))

    def type_clip(self) -> None:
        """Ask for a clip, with a preview of what it would have done."""
        if not self._asking.offered("type_clip"):
            return
        def preview(text: str) -> tuple[bool, str]:
            asked, value, why = read("clip", text, self._asking.now("clip"))
            if value == "auto":
                return True, "auto: it follows the run's own gradient norms"
            return asked is not None, why or would_have_clipped(self._link.state, float(value))  # type: ignore[arg-type]

        self._type("clip the gradient norm at: a value, x0.5, off, auto", "clip", preview, classes="aside")

    def type_prompt(self) -> None:
        """Ask for the text that samples start from."""
        if not self._asking.offered("type_prompt"):
            return
        def preview(text: str) -> tuple[bool, str]:
            return bool(text), "`random` takes excerpts of the validation text"

        def answered(text: str | None) -> None:
            if text is not None:
                self._asking.ask(c.SetPrompt, "prompt", text, text=text)

        self._app.push_screen(AskValue("prompt", str(self._link.state.knobs.get("prompt", "")), preview), answered)

    def _type(self, title: str, name: str, preview: Any, **how: Any) -> None:
        def answered(text: str | None) -> None:
            if text is None:
                return
            asked, value, _ = read(name, text, self._asking.now(name))
            if asked is not None and asked.factor is not None:
                self._asking.ask(c.ScaleKnob, name, value, name=name, factor=asked.factor)
            else:
                self._asking.ask(c.SetKnob, name, value, name=name, value=value)

        now, confirmed = self._asking.knob(name), self._asking.now(name)
        follows = name == "clip" and bool(self._link.state.knobs.get("clip_auto")) and now == confirmed
        auto = now == "auto" or follows
        value = shown(name, 0.0 if auto else float(now or 0), auto)
        self._app.push_screen(AskValue(title, value, preview, **how), answered)
