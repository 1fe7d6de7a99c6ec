"""Keys about what else the run might do, and whether what was done helped."""

from textual.app import App

from tuitrain.protocol import commands as c
from tuitrain.telemetry.contest import Contest
from tuitrain.telemetry.units import printable
from tuitrain.ui.actions.asking import Asking
from tuitrain.ui.dialogs import Choose, Confirm
from tuitrain.ui.link import Link
from tuitrain.ui.race import AskRace, RaceTable, Wanted

JUDGED = ("KnobChanged", "RolledBack", "LandingStarted")
KNOBS = ("", "lr", "clip", "clip_auto")
"""The knobs whose turn may be judged; empty for what turns none."""
"""Acts that a control can be trained without."""
MOST = 12
"""Interventions to pick from."""


class Racing:
    """Actions of these keys, one method each."""

    def __init__(self, app: App[int], link: Link, asking: Asking) -> None:
        self._app, self._link, self._asking = app, link, asking

    def futures(self) -> None:
        """Show the race, or ask for one if there is none yet."""
        return self._ask() if self._link.state.race is None else self._show(None)

    def _show(self, before: Contest | None) -> None:
        """Show the race, or that which follows on `before`."""
        def answered(answer: tuple[str, str] | None) -> None:
            if answer is not None and answer[0] == "anew":
                self._ask()
            elif answer is not None:
                self._choose(answer[1])

        self._app.push_screen(RaceTable(
            lambda: None if self._link.state.race is before else self._link.state.race, self._link,
            lambda arm: self._asking.ask(c.CutArm, "cut", arm=arm), lambda: self._asking.ask(c.CancelRace, "cancel")),
            answered)

    def _ask(self) -> None:
        if not self._asking.offered("futures"):
            return
        before = self._link.state.race

        def answered(wanted: Wanted | None) -> None:
            if wanted is not None:
                self._asking.ask(c.StartRace, "race", arms=wanted.arms, steps=wanted.steps, shares=wanted.shares)
                self._show(before)

        self._app.push_screen(AskRace(self._link.state), answered)

    def _choose(self, arm: str) -> None:
        if not self._asking.offered("futures"):
            return
        state = self._link.state
        assert state.race is not None
        began = state.race.began
        runner = next(r for r in state.race.runners if r.newest is not None and r.newest.folder == arm)
        left = state.step - began.step
        lines = [f"{runner.name}: {runner.done:,} steps from step {began.step:,} are the run's from now on, as a new "
                 "branch; nothing is trained again",
                 f"{left:,} steps since then are left as a ghost; undo returns to them" if left > 0
                 else "no step is left behind; undo comes back"]

        def answered(yes: bool | None) -> None:
            if yes:
                self._asking.ask(c.ChooseArm, "arm", arm=arm)

        self._app.push_screen(Confirm("go on with this arm", lines), answered)

    def helped(self) -> None:
        """Pick an intervention, and have a control trained without it."""
        if not self._asking.offered("helped"):
            return
        marks = [mark for mark in self._link.state.story.marks if mark.act in JUDGED and mark.knob in KNOBS]
        if not marks:
            return self._asking.refuse("there is no change of lr or clip, landing or rollback to be judged")
        newest = list(reversed(marks))[:MOST]

        def answered(choice: str | None) -> None:
            if choice is not None:
                mark = newest[int(choice)]
                self._asking.ask(c.JudgeIntervention, "judgement", branch=mark.branch, step=mark.step)

        choices = [(str(i), printable(f"step {mark.step:,}: {mark.words}")) for i, mark in enumerate(newest)]
        self._app.push_screen(Choose("did this help? a control is trained without it, beside the training", choices),
                              answered)
        return None
