"""The table of keys, from which bindings, footer, help, palette and README are made. Knows nothing of the actions."""

from dataclasses import dataclass

from tuitrain.protocol import commands as c
from tuitrain.protocol.capabilities import Capabilities
from tuitrain.telemetry import glossary


@dataclass(frozen=True, slots=True)
class Key:
    """A key and its action.

    `keys` are Textual's names, comma separated; `face` is what a person sees. Labels for the footer, empty for none:
    `label`, `looking` while no commands can be sent, and `tape` in a replay.
    """

    keys: str
    face: str
    action: str
    label: str
    help: str
    looking: str = ""
    tape: str = ""
    everywhere: bool = False
    """Whether it also works in a dialog."""
    asks: tuple[type[c.Command] | str, ...] = ()
    """The command that it sends, and the knob that this sets; a run may lack either."""

    def why_not(self, offers: Capabilities) -> str:
        """Return why a run cannot do what this key asks; empty if it can, or if the key sends no command."""
        if not self.asks:
            return ""
        command, *knob = self.asks
        assert isinstance(command, type)
        return offers.why_not(command, str(knob[0]) if knob else "")


TABLE = (
    Key("space", "␣", "pause", "pause", "pause or go on; samples are still drawn while paused", tape="stop",
        asks=(c.Pause,)),
    Key("minus", "-", "scale_lr(0.5)", "lr½", "halve the learning rate", tape="slower", asks=(c.ScaleKnob, "lr")),
    Key("plus,equals_sign", "+", "scale_lr(2.0)", "lr×2", "double the learning rate", tape="faster",
        asks=(c.ScaleKnob, "lr")),
    Key("l", "l", "type_lr", "", "type a learning rate", asks=(c.SetKnob, "lr")),
    Key("left_square_bracket", "[", "step_clip(-1)", "clip", "clip down one rung of 1, 1.25, 1.6, 2, 2.5, 3.2, 4 …",
        tape="event before", asks=(c.SetKnob, "clip")),
    Key("right_square_bracket", "]", "step_clip(1)", "", "clip up one rung", tape="next event",
        asks=(c.SetKnob, "clip")),
    Key("c", "c", "type_clip", "", "type a clip, with a preview of what it would have clipped; 0 is off",
        asks=(c.SetKnob, "clip")),
    Key("comma", ",", "scale_temperature(-0.05)", "", "temperature of the samples down", tape="back",
        asks=(c.SetKnob, "temperature")),
    Key("full_stop", ".", "scale_temperature(0.05)", "", "temperature of the samples up", tape="on",
        asks=(c.SetKnob, "temperature")),
    Key("a", "a", "auto_clip", "", "let the run's own norms set the clip; again: leave it where it is",
        asks=(c.SetKnob, "clip")),
    Key("p", "p", "type_prompt", "", "the prompt that samples start from", asks=(c.SetPrompt,)),
    Key("r", "r", "rollback", "roll back", "roll back: pick a restore point; lr and clip in the same dialog",
        asks=(c.Rollback,)),
    Key("R", "R", "remedy", "", "the remedy: back to before the trouble, a quarter of the lr, the advised clip",
        asks=(c.Rollback,)),
    Key("u", "u", "undo", "undo", "undo the last intervention, whoever made it", asks=(c.Undo,)),
    Key("s", "s", "sample", "sample", "draw samples now", asks=(c.DrawSample,)),
    Key("w", "w", "why", "why", "why: what is wrong, the evidence, what to do; in health what to watch", looking="why"),
    Key("x", "x", "dismiss", "", "dismiss the warning in the first line: it has been seen; a new one shows again"),
    Key("v", "v", "evaluate", "", "measure the validation loss now", asks=(c.Evaluate,)),
    Key("k", "k", "keep", "keep", "keep a checkpoint of now, never pruned", asks=(c.SaveCheckpoint,)),
    Key("n", "n", "land", "land", "land: decay the learning rate over the next N steps", asks=(c.Land,)),
    Key("g", "g", "guard", "", "what the guard does when training breaks: warn, pause, roll back, stop",
        tape="go to step"),
    Key("m", "m", "note", "", "a note of your own on the time line"),
    Key("f", "f", "futures", "", "futures: try other knobs from here, compare them, go on with one",
        asks=(c.StartRace,)),
    Key("h", "h", "helped", "", "did that help? pick an act: a control is trained without it",
        asks=(c.JudgeIntervention,)),
    Key("z", "z", "maximise", "", "the focused pane alone, or that of the number pressed, and back", looking="alone"),
    Key("y", "y", "log_axis", "", "logarithmic axis of the loss plot on and off"),
    Key("less_than_sign", "<", "window(-1)", "", "fewer steps in the plots"),
    Key("greater_than_sign", ">", "window(1)", "", "more steps in the plots, up to the whole run", looking="window"),
    Key("slash", "/", "filter", "", "show only log lines that contain a word", looking="filter"),
    Key("t", "t", "next_theme", "", "next theme: dark, light, the terminal's own colours on dark, on light"),
    Key("d", "d", "detach", "detach", "leave; training goes on; `tuitrain attach` comes back"),
    Key("question_mark", "?", "help", "help", "this help", looking="help"),
    Key("ctrl+s", "^s", "screenshot", "", "a picture of the screen (SVG) in the run's folder", everywhere=True),
    Key("ctrl+l", "^l", "repaint", "", "draw the whole screen again, where another program has written over it",
        everywhere=True),
    Key("ctrl+z", "^z", "suspend_process", "", "suspend the cockpit only; `fg` comes back"),
    Key("q,ctrl+c,ctrl+q", "q", "ask_quit", "quit", "quit: save and end, detach, or stay", looking="quit"),
)
DIGITS = "1234567890"
PANES = dict(zip(DIGITS, glossary.PANES, strict=False))
"""The pane that each digit focuses, in the order of the glossary."""
if len(PANES) < len(glossary.PANES):
    raise RuntimeError(f"panes: {len(glossary.PANES)} are declared, but there are only {len(DIGITS)} digits")
