"""The glossary of the words on the screen, for the cockpit's help and for `tuitrain help WORD`."""

import difflib

from tuitrain.specs import CELLS

PANES = {
    "loss": "How many bits the model needs to guess the next character: the line is training, the circles are text it "
            "never trained on. The dashed lines are what counting letters, pairs and triples would need.",
    "sample": "Text that the model writes by itself, character by character, after a prompt. The stronger the colour, "
              "the more that character surprised the model.",
    "gradients": "How strongly each step pulls at the weights, before the clip cuts it. The dashed line is the clip; "
                 "below it stands on how many steps it acts.",
    "groups": "The same pull for each part of the model, from the characters' table up to the output. A part that "
              "falls to nothing learns nothing, one that towers over the others drives the run.",
    "knobs": "What you may turn while it trains, as the engine confirmed it. In force is the learning rate after the "
             "schedule.",
    "timeline": "The points you can roll back to, oldest left. What is on disk survives everything, what is in memory "
                "survives until the run ends.",
    "log": "What happened, when, and who did it: the engine, you, another terminal, a script, the guard. `/` shows "
           "only lines with a word.",
    "inside": "What the last look into the model saw: gates at their ends, the recurrence, how far the gradient goes "
              "back. It shows in a large terminal, or alone with 8 and z.",
    "machine": "What the training uses of this computer, and what was trained on what. It shows in a large terminal, "
               "or alone with 9 and z.",
}
PANES_OF_A_SCRIPT = {
    "loss": "What the script minimises, in its own unit: the line is training, the circles are what its evaluation "
            "measured.",
    "sample": "What the script shows of its model: text, or numbers.",
    "gradients": "How strongly each step pulls at the weights; the title says whether before or after the clip. The "
                 "dashed line is the clip; below it stands on how many steps it acts.",
    "groups": "The same pull for each part of the model, in blue. A part that falls to nothing learns nothing, one "
              "that towers over the others drives the run. Below, the script's own curves, each on its own scale.",
    "inside": "Nothing: only tuitrain's own models are looked into.",
}
"""Where a pane shows something else of a loop that is not tuitrain's own."""

WORDS = {
    "loss": "Mean surprise of the model at the character that really came, in nats; shown in bits per character.",
    "bpc": "Bits per character: loss / ln 2. 1 bpc means as unsure as a fair coin at each character. Lower is better.",
    "train": "The loss on the text that is being learned, mean of the last 100 steps.",
    "val": "The loss on the last part of the text (--val), which is never learned from. If train falls and val rises, "
           "the model learns by heart.",
    "part of val": "A small fixed part of the validation text, measured oftener than the whole (∙ in the plot): its "
                   "trend shows early. It is another text, so its loss is compared with its own past only.",
    "letters alone": "The bpc of one who knows only how frequent each character is. A model above it has learned "
                     "nothing yet.",
    "letter pairs": "The bpc of one who also knows the character before.",
    "letter triples": "The bpc of one who knows two characters before. Below it, a model has begun to learn words.",
    "best possible": "The exact entropy rate of a text made by a known grammar: no model can do better than this.",
    "radius": "How many times as large a gradient could grow with each step back through time: the largest eigenvalue "
              "of the recurrent weights. Above 30 and growing, single gradients will explode.",
    "step": "One update of the weights, counted from 1.",
    "epoch": "One pass over the training part of the text.",
    "batch size": "How many pieces of text are learned from at once (--batch-size).",
    "bptt": "How many characters in a row the gradient flows back through (--bptt); also called sequence length.",
    "stream": "With --loss all: each row of the batch reads its own part of the text on and on, its memory carried "
              "along.",
    "window": "With --loss last: each row is a piece of text of its own, and only its last character counts.",
    "gradient norm": "The length of the gradient over all parameters, before the clip. Its size alone means little; "
                     "compare it with its own past.",
    "clip": "A gradient longer than this is scaled down to it; 0 is off. With Adam a clip that acts on every step "
            "changes almost nothing: it helps against rare spikes. To start with: five times the usual gradient norm, "
            "or 1 where nothing is known yet; `a` sets it from the run's own norms.",
    "clipped": "The share of the last 500 steps on which the clip acted.",
    "lr": "Learning rate: how far a step goes. The knob times the schedule is what is in force.",
    "warm-up": "The first steps, in which the learning rate rises from almost nothing.",
    "land": "To decay the learning rate to almost nothing over the next steps: the loss falls a last time.",
    "temperature": "How daring the samples are: 0.5 keeps to the likely, 1 is the model's own opinion. Training does "
                   "not depend on it.",
    "prompt": "The text a sample starts from; random is an excerpt of the validation part.",
    "surprise": "Bits that the model would have paid for a character that it drew: dim up to 1, strong from 6.",
    "snapshot": "The whole state of the run in memory: weights, optimizer, random numbers, place in the text.",
    "checkpoint": "The same on disk, checked when it is read.",
    "rollback": "To go back to a restore point; a new branch begins there and nothing is overwritten.",
    "branch": "The line of steps since a rollback, counted from 0. The line that was left stays dim: its ghost.",
    "undo": "Takes the last intervention back: a knob, or a whole rollback.",
    "median": "The usual size of this run's gradients. A clip of 5 medians still stops a harmful spike; one of 25 is "
              "too high to matter.",
    "spike": "A single gradient of more than 20 medians. The text still reads well; thousands of steps may be left.",
    "tail": "The largest hundredth of the gradients over the median one: 1.3 is usual, a slow rise an early sign.",
    "update ratio": "How far a step moves the weights, over their length. A jump is a learning rate that is too high.",
    "saturation": "The share of a gate's activations pinned at their ends, where they pass no gradient on.",
    "gate": "What lets a part of a cell's state through. " + " ".join(
        f"{cell.title}: {', '.join(f'{letter} {name}' for letter, name in cell.gates.items())}."
        for cell in CELLS.values()),
    "flow": "The gradient of the last character's loss at each earlier one. It should shrink going back, not grow.",
    "gibberish": "Where a sample lies between held-out text (0) and letter soup (1), counted in letter triples.",
    "alarm": "Training has broken, by a rule with a value and a threshold.",
    "warning": "An early sign: nothing is broken yet. It stands in the first line until you answer it (a clip, a lower "
               "learning rate, landing, a rollback), dismiss it (x), or 4,000 steps pass without another one.",
    "verdict": "The most likely cause of an alarm, with its evidence, the runner-up and the key that helps: w.",
    "black box": "What was read and measured around an alarm: three stretches of text, 500 rows of numbers, in the "
                 "run's folder.",
    "guard": "What acts by itself when training breaks: warn, pause, roll back or stop.",
    "skipped": "A step whose numbers were not finite: it changes nothing.",
    "host": "The process that trains. It goes on when a terminal closes.",
    "run": "One folder: configuration, journal, checkpoints, a copy of the text.",
    "read-only": "A look at a run through its journal: where there is no socket, nothing can be asked of it.",
}
WORDS_OF_A_SCRIPT = {
    "loss": "What the script minimises, in its own unit.",
    "train": "The training loss, mean of the last 100 steps.",
    "val": "The loss that the script's evaluation returned. If train falls and val rises, the model learns by heart.",
    "epoch": "One pass over the data, as the script counts it.",
    "snapshot": "The whole state of the run in memory: weights, optimizer, schedulers, random numbers, and what the "
                "script registered. The data goes on where the loop is.",
    "spike": "A single gradient of more than 20 medians.",
    "tail": "The largest hundredth of the gradients over the median one; a slow rise is an early sign.",
    "skipped": "A step whose numbers were not finite. In a script it is made all the same.",
    "host": "The script's process. It goes on when a terminal closes.",
    "run": "One folder: journal and checkpoints.",
}
ONLY_OF_TEXT = frozenset((
    "bpc", "letters alone", "letter pairs", "letter triples", "best possible", "radius", "batch size", "bptt", "stream",
    "window", "warm-up", "temperature", "prompt", "surprise", "update ratio", "saturation", "gate", "flow", "gibberish",
    "black box"))
"""Words that mean nothing in a loop that is not tuitrain's own."""
HINT = ("Watch the loss fall; it should pass the dashed lines within minutes.",
        "- and + turn the learning rate, [ and ] the clip; r rolls back.",
        "? explains every pane and key; d leaves and training goes on.")
"""For the first run of a person."""


def panes(own: bool) -> dict[str, str]:
    """Return what each pane shows, of tuitrain's `own` model or of somebody's loop."""
    return PANES if own else PANES | PANES_OF_A_SCRIPT


def words(own: bool) -> dict[str, str]:
    """Return the words and what they mean in such a run."""
    if own:
        return WORDS
    return {word: WORDS_OF_A_SCRIPT.get(word, meaning) for word, meaning in WORDS.items() if word not in ONLY_OF_TEXT}


LIKE, APART = 0.6, 0.15
"""The least likeness of a word that may have been meant, and how much less alike than the nearest others may be."""


def explain(word: str) -> str:
    """Return the explanation of a word. Raises KeyError with the nearest words, the nearest first."""
    if word.lower() in WORDS:
        return WORDS[word.lower()]
    raise KeyError(", ".join(near(word)))


def near(word: str, most: int = 3) -> list[str]:
    """Return the words of the screen that are most like a word, the most alike first.

    A name of several words is compared whole and by each of its words: who mistypes one means the whole.
    """
    word = word.lower()
    alike = {name: max(difflib.SequenceMatcher(None, word, part).ratio() for part in (name, *name.split()))
             for name in (*WORDS, *(f"{pane} pane" for pane in PANES))}
    best = sorted((name for name, share in alike.items() if share >= LIKE), key=lambda name: -alike[name])
    return [name for name in best[:most] if alike[name] >= alike[best[0]] - APART]
