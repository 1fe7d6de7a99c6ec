"""What each key does: a question to the engine, or to the person first. Confirmed values come back as events."""

import uuid
from typing import Any

from tuitrain.errors import RunError, UsageError
from tuitrain.knobs import whole
from tuitrain.protocol import askers
from tuitrain.protocol import commands as c
from tuitrain.protocol.findings import CAUSES
from tuitrain.specs import GUARD_MODES
from tuitrain.telemetry.session import Session, Tape
from tuitrain.telemetry.units import number, safe
from tuitrain.ui.dialogs import AskValue, Choose, Chosen, Confirm, PickPoint, Present
from tuitrain.ui.keys import TABLE
from tuitrain.ui.values import (
    proposed,
    read,
    remedy_of,
    remedy_point,
    rung,
    shown,
    told,
    wild,
    would_have_clipped,
)
from tuitrain.ui.viewing import Viewing
from tuitrain.ui.why import Why


class Actions(Viewing):
    """The actions of the table of keys that reach the engine, and those that leave it."""

    session: Session | None
    ending = False
    """The person here had it save and end: the cockpit leaves when that is done."""

    def ask(self, command: type[c.Command], what: str, wanted: Any = True, /, **words: Any) -> None:
        """Send a command and remember that it was asked, until an event carries its id."""
        if self.session is None or self.view.connection != "live":
            self.view.refused = {"starting": "the engine is still starting", "gone": "the engine is gone",
                                 "replay": "a replay: space stops, - + is its speed, , . winds it"}.get(
                self.view.connection, "this is a read-only look at the run")
        elif why := self.state.capabilities.why_not(command, str(words.get("name", ""))):
            self.view.refused = why
        else:
            id = uuid.uuid4().hex[:12]
            self.view.asked[id], self.view.refused = (what, wanted), ""
            try:
                self.session.send(command(id=id, by=askers.PERSON, **words))
            except RunError as error:
                self.view.asked.pop(id)
                self.view.refused = str(error)
        self.redraw(at_once=True)

    def offered(self, action: str) -> bool:
        """Whether the run does what a key asks; if not, the reason is shown."""
        key = next(key for key in TABLE if key.action == action)
        self.view.refused = key.why_not(self.state.capabilities)
        if self.view.refused:
            self.redraw(at_once=True)
        return not self.view.refused

    @property
    def tape(self) -> Tape | None:
        """The session, if it is a replay: some keys then steer the tape."""
        return self.session if self.view.connection == "replay" and isinstance(self.session, Tape) else None

    def knob(self, name: str) -> Any:
        """The value last asked of a knob, or the confirmed one."""
        asked = self.view.asking(name)
        return self.state.knobs.get(name) if asked is None else asked

    def action_pause(self) -> None:
        """Pause or go on."""
        if self.tape is not None:
            self.tape.toggle()
            return self.redraw(at_once=True)
        self.ask(c.Continue if self.state.status == "paused" else c.Pause, "pause")

    def action_scale_lr(self, factor: float) -> None:
        """The engine multiplies its own learning rate; a replay its speed."""
        if self.tape is not None:
            self.tape.faster(factor)
            return self.redraw(at_once=True)
        now = self.knob("lr")
        self.ask(c.ScaleKnob, "lr", (now or 0.0) * factor, name="lr", factor=factor)

    def action_step_clip(self, rungs: int) -> None:
        """Clip to the next rung of the ladder."""
        value = rung(float(self.knob("clip") or 0), rungs)
        self.ask(c.SetKnob, "clip", value, name="clip", value=value)

    def action_scale_temperature(self, by: float) -> None:
        """All temperatures up or down; a replay goes on or back by a twentieth."""
        if self.tape is not None:
            self.tape.jump(by)
            return None
        now = self.knob("temperature") or ()
        value = tuple(round(max(0.05, t + by), 3) for t in now)
        self.ask(c.SetKnob, "temperature", value, name="temperature", value=value)

    def action_type_lr(self) -> None:
        """Type a learning rate."""
        if not self.offered("type_lr"):
            return
        def preview(text: str) -> tuple[bool, str]:
            now = self._now("lr")
            asked, value, why = read("lr", text, now)
            turn = "" if value == now else f" → {number(float(value), 4)}"  # type: ignore[arg-type]
            return asked is not None, why or f"base rate {number(now, 4)}{turn}; in force = this times the schedule"

        self._type("learning rate: a value, or x0.5 for half of it", "lr", preview,
                   doubt=lambda text: wild(read("lr", text, self._now("lr"))[1], self._now("lr")))

    def action_type_clip(self) -> None:
        """Type a clip, with a word on what it would have done."""
        if not self.offered("type_clip"):
            return
        def preview(text: str) -> tuple[bool, str]:
            asked, value, why = read("clip", text, self._now("clip"))
            if value == "auto":
                return True, "auto: it follows the run's own gradient norms"
            return asked is not None, why or would_have_clipped(self.state, float(value))  # type: ignore[arg-type]

        self._type("clip the gradient norm at: a value, x0.5, off, auto", "clip", preview, classes="aside")

    def _now(self, name: str) -> float:
        return float(self.state.knobs.get(name) or 0)

    def _type(self, title: str, name: str, preview: Any, **how: Any) -> None:
        def answered(text: str | None) -> None:
            if text is None:
                return
            asked, value, _ = read(name, text, self._now(name))
            if asked is not None and asked.factor is not None:
                self.ask(c.ScaleKnob, name, value, name=name, factor=asked.factor)
            else:
                self.ask(c.SetKnob, name, value, name=name, value=value)

        now = self.knob(name)
        auto = now == "auto" or (name == "clip" and bool(self.state.knobs.get("clip_auto")) and now == self._now(name))
        self.push_screen(AskValue(title, shown(name, 0.0 if auto else float(now or 0), auto), preview, **how), answered)

    def action_type_prompt(self) -> None:
        """The text that samples start from."""
        if not self.offered("type_prompt"):
            return
        def preview(text: str) -> tuple[bool, str]:
            return bool(text), "`random` takes excerpts of the validation text"

        def answered(text: str | None) -> None:
            if text is not None:
                self.ask(c.SetPrompt, "prompt", text, text=text)

        self.push_screen(AskValue("prompt", str(self.state.knobs.get("prompt", "")), preview), answered)

    def action_rollback(self) -> None:
        """Pick a restore point."""
        if not self.offered("rollback"):
            return
        def answered(answer: Chosen | None) -> None:
            if answer is not None:
                point, lr, clip = answer
                self.ask(c.Rollback, "rollback", point=point, **c.going_on(lr, clip))

        present = Present(self.state.step, self.view.now, self._now("lr"), self._now("clip"),
                          bool(self.state.knobs.get("clip_auto")), self.state.unit, self.state.lineage)
        values = proposed(self.state)
        found = remedy_of(self.state) if values else None
        point = remedy_point(self.state, found) if found is not None else None
        self.push_screen(PickPoint(list(self.state.story.points.values()), present, values,
                                   point.name if point is not None else ""), answered)

    def action_remedy(self) -> None:
        """What the verdict advises, once it was said what exactly that is."""
        if not self.offered("remedy"):
            return None
        state = self.state
        found = remedy_of(state)
        if found is None:
            verdict = state.health.verdict
            advice = safe(verdict.remedy) if state.health.broken and verdict is not None else ""
            self.view.refused = f"going back is no remedy for it; {advice}" if advice else \
                "nothing is broken that R could answer; r picks a point to roll back to"
            return self.redraw(at_once=True)
        point = remedy_point(state, found)
        if point is None:
            self.view.refused = f"no restore point that was well from before step {found.onset:,}; r picks one"
            return self.redraw(at_once=True)
        now, clip = self._now("lr"), found.clip
        lr = None if found.lr_factor is None else found.lr(point.lr, now)

        def answered(yes: bool | None) -> None:
            if yes:
                self.ask(c.Rollback, "rollback", point=point.name, healthy=True, lr=lr, clip=clip,
                         skip_batches=found.skipped(point.step))

        self.push_screen(Confirm("the remedy", told(found, point, state)), answered)
        return None

    def action_auto_clip(self) -> None:
        """The clip by the run's own norms, or left where it is."""
        value = float(self.state.knobs.get("clip") or 0) if self.state.knobs.get("clip_auto") else "auto"
        self.ask(c.SetKnob, "clip", value, name="clip", value=value)

    def action_why(self) -> None:
        """What is wrong and why."""
        self.push_screen(Why(lambda: self.state, self.view))

    def action_dismiss(self) -> None:
        """The warning that stands has been seen."""
        health = self.state.health
        if health.standing is None and not health.broken:
            self.view.refused = "no warning stands"
            self.redraw(at_once=True)
        elif health.broken and health.waiting_since:
            self.view.refused = "the guard waits for an answer: space goes on, R or r rolls back"
            self.redraw(at_once=True)
        else:
            self.ask(c.Dismiss, "dismissal")

    def action_undo(self) -> None:
        """Say what it will undo, then do it."""
        if not self.offered("undo"):
            return
        last = self.state.story.last_act()
        what = last.words if last else "the last intervention"
        choices = [("knob", "undo it, training goes on from here"), ("weights", "weights too: back to just before it"),
                   ("no", "leave it")]
        if last is not None and last.act == "RolledBack":  # nothing goes on from here: it returns to what was left
            choices = [("knob", "undo it: back to the step that was left, with its weights and knobs"),
                       ("no", "leave it")]

        def answered(choice: str | None) -> None:
            if choice in ("knob", "weights"):
                self.ask(c.Undo, "undo", weights=choice == "weights")

        self.push_screen(Choose(f"undo: {what}?", choices), answered)

    def action_sample(self) -> None:
        """Draw samples now."""
        self.ask(c.DrawSample, "sample")

    def action_evaluate(self) -> None:
        """Validation loss now."""
        self.ask(c.Evaluate, "evaluation")

    def action_keep(self) -> None:
        """A checkpoint now."""
        self.ask(c.SaveCheckpoint, "checkpoint")

    def action_land(self) -> None:
        """Decay over the next N steps."""
        if not self.offered("land"):
            return
        def preview(text: str) -> tuple[bool, str]:
            try:
                steps = whole("land", text)
            except UsageError as error:
                return False, str(error)
            speed = self.state.steps_per_second
            words = f"about {steps / speed:,.0f} s at this speed; then the run ends" if steps > 0 and speed else ""
            return steps > 0, words or "a whole number of steps above 0"

        def answered(text: str | None) -> None:
            if text is not None:
                self.ask(c.Land, "landing", steps=whole("land", text))

        steps = max(100, self.state.step // 10)
        self.push_screen(AskValue("land: decay the learning rate over so many steps", str(steps), preview), answered)

    def action_guard(self) -> None:
        """Choose the guard's mode."""
        def answered(mode: str | None) -> None:
            if mode:
                self.ask(c.SetGuardMode, "guard", mode=mode)

        self.push_screen(Choose(f"when training breaks (now: {self.state.guard})",
                                [(mode, f"{mode}: {words}") for mode, words in GUARD_MODES.items()]), answered)

    def action_note(self) -> None:
        """A note on the time line."""
        def answered(text: str | None) -> None:
            if text:
                self.ask(c.AddNote, "note", text=text)

        title, hint = "note", "kept in the journal"
        if self.state.facts.drill:
            title, hint = "name the fault", ", ".join(cause.replace("_", " ") for cause in CAUSES[:-2])
        self.push_screen(AskValue(title, "", lambda text: (bool(text.strip()), hint)), answered)

    def action_detach(self) -> None:
        """Leave; training goes on."""
        self.exit(0)

    def action_ask_quit(self) -> None:
        """Save and end, detach, or stay."""
        if self.view.connection != "live" or self.state.status == "ended":
            self.exit(0)
            return

        def answered(choice: str | None) -> None:
            if choice == "detach":
                self.exit(0)
            elif choice == "end":
                self.view.remark, self.ending = "saving and ending", True
                self.ask(c.Stop, "end")

        self.push_screen(Choose("leave?", [("stay", "stay"), ("detach", "detach: training goes on"),
                                           ("end", "save and end the run")]), answered)
