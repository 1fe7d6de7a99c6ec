"""Maps action names to methods; Textual looks for them on the app as `action_<name>`."""

from collections.abc import Callable

from tuitrain.ui.actions.conducting import Conducting
from tuitrain.ui.actions.going_back import GoingBack
from tuitrain.ui.actions.racing import Racing
from tuitrain.ui.actions.turning import Turning
from tuitrain.ui.actions.viewing import Viewing


def actions(conducting: Conducting, turning: Turning, back: GoingBack, racing: Racing, viewing: Viewing
            ) -> dict[str, Callable[..., None]]:
    """Return the methods by their names in the table of keys."""
    return {
        "pause": conducting.pause, "sample": conducting.sample, "evaluate": conducting.evaluate,
        "keep": conducting.keep, "land": conducting.land, "guard": conducting.guard, "note": conducting.note,
        "dismiss": conducting.dismiss, "detach": conducting.detach, "ask_quit": conducting.ask_quit,
        "scale_lr": turning.scale_lr, "type_lr": turning.type_lr, "step_clip": turning.step_clip,
        "type_clip": turning.type_clip, "auto_clip": turning.auto_clip, "type_prompt": turning.type_prompt,
        "scale_temperature": turning.scale_temperature,
        "rollback": back.rollback, "remedy": back.remedy, "undo": back.undo,
        "futures": racing.futures, "helped": racing.helped,
        "why": viewing.why, "focus_pane": viewing.focus_pane, "maximise": viewing.maximise, "window": viewing.window,
        "log_axis": viewing.log_axis, "filter": viewing.filter, "next_theme": viewing.next_theme,
        "screenshot": viewing.screenshot, "help": viewing.help,
    }
