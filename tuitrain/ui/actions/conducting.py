"""Keys for the run as a whole: pause, measure, save, end, note, dismiss a warning, leave."""

from textual.app import App

from tuitrain.errors import UsageError
from tuitrain.knobs import whole
from tuitrain.protocol import commands as c
from tuitrain.specs import GUARD_MODES
from tuitrain.telemetry.session import Tape
from tuitrain.troubles import CAUSES
from tuitrain.ui.actions.asking import Asking
from tuitrain.ui.dialogs import AskValue, Choose
from tuitrain.ui.link import Link


class Conducting:
    """Actions of these keys, one method each."""

    def __init__(self, app: App[int], link: Link, asking: Asking) -> None:
        self._app, self._link, self._asking = app, link, asking

    def pause(self) -> None:
        """Pause or continue."""
        if self._link.tape is not None:
            self._link.tape.toggle()
            return self._asking.show()
        self._asking.ask(c.Continue if self._link.state.status == "paused" else c.Pause, "pause")

    def sample(self) -> None:
        """Draw samples now."""
        self._asking.ask(c.DrawSample, "sample")

    def evaluate(self) -> None:
        """Measure the validation loss now."""
        self._asking.ask(c.Evaluate, "evaluation")

    def keep(self) -> None:
        """Save a checkpoint now."""
        self._asking.ask(c.SaveCheckpoint, "checkpoint")

    def land(self) -> None:
        """Ask over how many steps to decay the learning rate, then land."""
        if not self._asking.offered("land"):
            return
        def preview(text: str) -> tuple[bool, str]:
            try:
                steps = whole("land", text)
            except UsageError as error:
                return False, str(error)
            speed = self._link.state.steps_per_second
            words = f"about {steps / speed:,.0f} s at this speed; then the run ends" if steps > 0 and speed else ""
            return steps > 0, words or "a whole number of steps above 0"

        def answered(text: str | None) -> None:
            if text is not None:
                self._asking.ask(c.Land, "landing", steps=whole("land", text))

        steps = max(100, self._link.state.step // 10)
        title = "land: decay the learning rate over so many steps"
        self._app.push_screen(AskValue(title, str(steps), preview), answered)

    def guard(self) -> None:
        """Choose the guard's mode; in a replay go to a step."""
        if self._link.tape is not None:
            return self._go_to_step(self._link.tape)
        if not self._asking.offered("guard"):
            return
        def answered(mode: str | None) -> None:
            if mode:
                self._asking.ask(c.SetGuardMode, "guard", mode=mode)

        modes = [(mode, f"{mode}: {words}") for mode, words in GUARD_MODES.items()]
        self._app.push_screen(Choose(f"when training breaks (now: {self._link.state.guard})", modes), answered)

    def _go_to_step(self, tape: Tape) -> None:
        def preview(text: str) -> tuple[bool, str]:
            try:
                whole("step", text)
            except UsageError as error:
                return False, str(error)
            return True, "where the run was at it for the last time"

        def answered(text: str | None) -> None:
            if text is not None:
                tape.to_step(whole("step", text))
                self._asking.show()

        self._app.push_screen(AskValue("go to step", str(self._link.state.step), preview), answered)

    def note(self) -> None:
        """Ask for a note and put it on the time line."""
        if not self._asking.offered("note"):
            return
        def answered(text: str | None) -> None:
            if text:
                self._asking.ask(c.AddNote, "note", text=text)

        title, hint = "note", "kept in the journal"
        if self._link.state.facts.drill:
            title, hint = "name the fault", ", ".join(cause.words for cause in CAUSES.values() if cause.fault)
        self._app.push_screen(AskValue(title, "", lambda text: (bool(text.strip()), hint)), answered)

    def dismiss(self) -> None:
        """Dismiss the standing warning."""
        health = self._link.state.health
        if health.standing is None and not health.broken:
            self._asking.refuse("no warning stands")
        elif health.broken and health.waiting_since:
            self._asking.refuse("the guard waits for an answer: space goes on, R or r rolls back")
        else:
            self._asking.ask(c.Dismiss, "dismissal")

    def detach(self) -> None:
        """Leave; training goes on."""
        self._app.exit(0)

    def ask_quit(self) -> None:
        """Ask whether to save and end, detach, or stay."""
        if self._link.view.connection != "live" or self._link.state.status == "ended":
            self._app.exit(0)
            return

        def answered(choice: str | None) -> None:
            if choice == "detach":
                self._app.exit(0)
            elif choice == "end":
                self._link.view.remark, self._asking.ending = "saving and ending", True
                self._asking.ask(c.Stop, "end")

        ways = [("stay", "stay"), ("detach", "detach: training goes on"), ("end", "save and end the run")]
        self._app.push_screen(Choose("leave?", ways), answered)
