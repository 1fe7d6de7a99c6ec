"""What can go wrong, declared once for all rooms: each rule that fires and each cause that a verdict may name.

Code names them by these objects, so a misspelled one fails when its module is imported; messages and journals carry
their names. A name of a newer version, read from a journal, has a declaration that promises nothing.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that can be found in the numbers of a run."""

    name: str
    alarm: bool = False
    """Training is broken; otherwise an early sign."""
    loss: bool = False
    """The loss left its level: what may have thrown it there is weighed."""
    stuck: bool = False
    """The loss never came down."""
    pins: bool = False
    """The guard pins a restore point from before it."""
    advises: bool = False
    """A clip helps, so one is advised."""
    spike: bool = False
    """A trouble that follows began here: a remedy goes back to before it."""
    single: bool = False
    """Of one step, and it may have been the text: matters less than any other, and a verdict ends it."""
    recurrence: bool = False
    """Stands for as long as the recurrence exceeds the threshold."""
    own: bool = True
    """Whether what a person turned before may have caused it."""


@dataclass(frozen=True, slots=True)
class Words:
    """A cause in words for a beginner; a remedy starts with the key that does it."""

    title: str
    sentence: str
    remedy: str


def plain(text: str) -> str:
    """Return a text in lower case with spaces for hyphens and underscores."""
    return text.lower().replace("_", " ").replace("-", " ")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why training went wrong."""

    name: str
    usual: Words
    in_a_loop: Words | None = None
    """For a watched loop, of which nothing is known but its numbers, where that differs."""
    where_made: Words | None = None
    """Where nothing kept the steps from the weights, if that differs."""
    of_steps: bool = False
    """Larger steps can bring it about."""
    too_small: bool = False
    """Smaller steps make it worse, so a rollback with a lower rate is no remedy."""
    of_text: bool = False
    """The text is to blame: a remedy leaves that stretch out and turns no knob."""
    passes: bool = False
    """After the guard's first rollback the rate comes back, for the trouble was that of a moment."""
    fault: bool = True
    """Something is wrong, and it has a name: what a drill may hide."""

    @property
    def words(self) -> str:
        """Its name for a person."""
        return self.name.replace("_", " ")

    def is_named_in(self, text: str) -> bool:
        """Return whether a person's text contains its name or its title."""
        titles = [words.title for words in (self.usual, self.in_a_loop, self.where_made) if words is not None]
        return any(name in plain(text) for name in (self.words, *titles))

    def words_in(self, *, own: bool = True, made: bool = False) -> Words:
        """Return title, sentence and remedy: in a model of `own` or in a watched loop; `made` says that steps were made
        although their numbers are not finite."""
        if made and self.where_made is not None:
            return self.where_made
        return self.usual if own or self.in_a_loop is None else self.in_a_loop


LEVEL: Final = Rule("level", alarm=True, loss=True)
VALIDATION: Final = Rule("validation", alarm=True, loss=True)
NO_PROGRESS: Final = Rule("no_progress", alarm=True, stuck=True)
NOT_FINITE: Final = Rule("non_finite", alarm=True, own=False)
SPIKE: Final = Rule("spike", pins=True, advises=True, spike=True)
TAIL: Final = Rule("tail", pins=True, advises=True)
GROWTH: Final = Rule("growth", pins=True, advises=True, recurrence=True)
RMS: Final = Rule("rms", pins=True)
OUTLIER: Final = Rule("outlier", single=True)
LOSS_SCALE: Final = Rule("loss_scale", own=False)
"""Of a step that was skipped because its scaled gradient overflowed fp16; the next step uses a smaller scale."""

RULES: Final = {rule.name: rule for rule in (
    LEVEL, VALIDATION, NO_PROGRESS, NOT_FINITE, SPIKE, TAIL, GROWTH, RMS, OUTLIER, LOSS_SCALE)}

LR_TOO_HIGH: Final = Cause("lr_too_high", Words(
    "the learning rate is too high",
    "The steps are too large: the weights were thrown to where the model knows less.",
    "R: roll back and lower the learning rate to a quarter"), of_steps=True, passes=True)
EXPLODING: Final = Cause("exploding_gradient", Words(
    "the gradient explodes",
    "The gradient exploded on its way back through time: the recurrent weights have grown so large that single "
    "gradients are many times the usual size.",
    "R: roll back to before the first spike, set the advised clip, lower the learning rate"), in_a_loop=Words(
    "the gradient explodes",
    "The gradient exploded: single ones are many times the usual size.",
    "R: roll back to before the first spike, set the advised clip, lower the learning rate"), of_steps=True)
ODD_BATCH: Final = Cause("outlier_batch", Words(
    "one odd batch",
    "One batch was unlike the rest; the model has recovered and nothing needs to be done.",
    "nothing to do; a sets the advised clip for the next one"))
BAD_DATA: Final = Cause("bad_data", Words(
    "the text changed",
    "The text itself changed here: the model is as good as before on other text, but this stretch is unlike what it "
    "has read.",
    "R: roll back and leave that stretch of text out; the black box shows it"), in_a_loop=Words(
    "the data changed",
    "The data changed here: the model is as good as before on other data.",
    "look at what the loop read here; R: roll back"), of_text=True)
OVERFITTING: Final = Cause("overfitting", Words(
    "it learns by heart",
    "The model learns this text by heart: it still gets better on what it has seen and worse on what it has not.",
    "r: roll back to the best validation loss, or n: land"), in_a_loop=Words(
    "it learns by heart",
    "The model learns its training data by heart: it still gets better on what it has seen and worse on what it has "
    "not.",
    "r: roll back to the best validation loss, or n: land"))
NON_FINITE: Final = Cause("non_finite", Words(
    "numbers that are not finite",
    "A number overflowed or was not a number; those steps were kept from the weights.",
    "R: roll back if it goes on; a sets the advised clip"), where_made=Words(
    "numbers that are not finite",
    "A number overflowed or was not a number, and the steps were made all the same: the weights may be lost.",
    "R: roll back to before the first of them"))
DEAD: Final = Cause("dead", Words(
    "dead units",
    "The units are stuck at their ends and pass nothing on, so nothing can be learned any more.",
    "R: roll back and lower the learning rate"), of_steps=True)
VANISHING: Final = Cause("vanishing", Words(
    "no gradient arrives",
    "Hardly any gradient reaches the weights, so they stay where they are.",
    "+: raise the learning rate, or begin again with another --init"), in_a_loop=Words(
    "no gradient arrives",
    "Hardly any gradient reaches the weights, so they stay where they are.",
    "+: raise the learning rate"), too_small=True)
PLATEAU: Final = Cause("plateau", Words(
    "nothing is learned",
    "Nothing is broken, but nothing is learned: the steps are too small or the model is too small.",
    "+: raise the learning rate"), too_small=True)
HEALTHY: Final = Cause("healthy", Words("nothing is wrong", "Nothing is wrong.", "nothing to do"), fault=False)
UNCLEAR: Final = Cause("unclear", Words(
    "cannot tell yet",
    "Training broke, and the numbers do not say why yet.",
    "R: roll back; it costs little, and undo undoes it"), fault=False)

CAUSES: Final = {cause.name: cause for cause in (
    LR_TOO_HIGH, EXPLODING, ODD_BATCH, BAD_DATA, OVERFITTING, NON_FINITE, DEAD, VANISHING, PLATEAU, HEALTHY, UNCLEAR)}


def rule(name: str) -> Rule:
    """The declaration of the rule that an event names; for one of a newer version one that promises nothing."""
    return RULES.get(name) or Rule(name)


def cause(name: str) -> Cause:
    """The declaration of the cause that an event names, which may be of a newer version, or empty while unknown."""
    return CAUSES.get(name) or Cause(name, Words(name.replace("_", " "), "", ""), fault=False)
