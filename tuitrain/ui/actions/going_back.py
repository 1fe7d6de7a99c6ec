"""Keys that go back: to a restore point, to before the trouble, to before the last intervention."""

from textual.app import App

from tuitrain.protocol import commands as c
from tuitrain.telemetry.units import safe
from tuitrain.ui.actions.asking import Asking
from tuitrain.ui.dialogs import Choose, Chosen, Confirm, PickPoint, Present
from tuitrain.ui.link import Link
from tuitrain.ui.values import proposed, remedy_lines, remedy_of, remedy_point


class GoingBack:
    """Actions of these keys, one method each, which show what will be done before they send the command."""

    def __init__(self, app: App[int], link: Link, asking: Asking) -> None:
        self._app, self._link, self._asking = app, link, asking

    def rollback(self) -> None:
        """Let the person pick a restore point, then roll back to it."""
        if not self._asking.offered("rollback"):
            return
        def answered(answer: Chosen | None) -> None:
            if answer is not None:
                point, lr, clip = answer
                self._asking.ask(c.Rollback, "rollback", point=point, **c.going_on(lr, clip))

        state = self._link.state
        present = Present(state.step, self._link.view.now, self._asking.now("lr"), self._asking.now("clip"),
                          bool(state.knobs.get("clip_auto")), state.unit, state.lineage, state.validation)
        values = proposed(state)
        found = remedy_of(state) if values else None
        point = remedy_point(state, found) if found is not None else None
        self._app.push_screen(PickPoint(list(state.story.points.values()), present, values,
                                        point.name if point is not None else ""), answered)

    def remedy(self) -> None:
        """Show exactly what the verdict's remedy will do, then do it."""
        if not self._asking.offered("remedy"):
            return None
        state = self._link.state
        found = remedy_of(state)
        if found is None:
            verdict = state.health.verdict
            advice = safe(verdict.remedy) if state.health.broken and verdict is not None else ""
            return self._asking.refuse(f"going back is no remedy for it; {advice}" if advice else
                                       "nothing is broken that R could answer; r picks a point to roll back to")
        point = remedy_point(state, found)
        if point is None:
            return self._asking.refuse(
                f"no restore point that was well from before step {found.onset:,}; r picks one")
        now, clip = self._asking.now("lr"), found.clip
        lr = None if found.lr_factor is None else found.lr(point.lr, now)

        def answered(yes: bool | None) -> None:
            if yes:
                self._asking.ask(c.Rollback, "rollback", point=point.name, healthy=True, lr=lr, clip=clip,
                                 skip_batches=found.skipped(point.step))

        self._app.push_screen(Confirm("the remedy", remedy_lines(found, point, state)), answered)
        return None

    def undo(self) -> None:
        """Show what will be undone, then undo it."""
        if not self._asking.offered("undo"):
            return
        story = self._link.state.story
        if not story.undoable:
            self._asking.refuse("nothing to undo since the run was started or resumed; r goes back to a restore point")
            return
        last = story.undoable[-1]
        kept = last.point in story.points
        leave = ("no", "leave it")
        if last.act == "RolledBack":  # an undone rollback returns to the branch that was left
            if not kept:
                self._asking.refuse("the point from before the rollback is no longer in memory; r picks another")
                return
            choices = [("knob", "undo it: back to the step that was left, with its weights and knobs"), leave]
        else:
            back = [("weights", "weights too: back to just before it")] if kept else []
            choices = [("knob", "undo it, training goes on from here"), *back, leave]

        def answered(choice: str | None) -> None:
            if choice in ("knob", "weights"):
                self._asking.ask(c.Undo, "undo", weights=choice == "weights")

        self._app.push_screen(Choose(f"undo: {last.words}?", choices), answered)
