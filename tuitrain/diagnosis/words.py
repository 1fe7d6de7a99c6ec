"""Causes and remedies in sentences for beginners; a remedy starts with the key that does it."""

SENTENCES = {
    "lr_too_high": "The steps are too large: the weights were thrown to where the model knows less.",
    "exploding_gradient": "The gradient exploded on its way back through time: the recurrent weights have grown so "
                          "large that single gradients are many times the usual size.",
    "outlier_batch": "One batch was unlike the rest; the model has recovered and nothing needs to be done.",
    "bad_data": "The text itself changed here: the model is as good as before on other text, but this stretch is "
                "unlike what it has read.",
    "overfitting": "The model learns this text by heart: it still gets better on what it has seen and worse on what "
                   "it has not.",
    "non_finite": "A number overflowed or was not a number; those steps were kept from the weights.",
    "dead": "The units are stuck at their ends and pass nothing on, so nothing can be learned any more.",
    "vanishing": "Hardly any gradient reaches the weights, so they stay where they are.",
    "plateau": "Nothing is broken, but nothing is learned: the steps are too small or the model is too small.",
    "healthy": "Nothing is wrong.",
    "unclear": "Training broke, and the numbers do not say why yet.",
}
OF_A_SCRIPT = {
    "exploding_gradient": "The gradient exploded: single ones are many times the usual size.",
    "bad_data": "The data changed here: the model is as good as before on other data.",
    "overfitting": "The model learns its training data by heart: it still gets better on what it has seen and worse on "
                   "what it has not.",
}
"""Sentences for a loop of which nothing is known but its numbers, where they differ."""
MADE = "A number overflowed or was not a number, and the steps were made all the same: the weights may be lost."
"""For `non_finite` where nothing kept those steps from the weights."""
REMEDIES = {
    "lr_too_high": "R: roll back and lower the learning rate to a quarter",
    "exploding_gradient": "R: roll back to before the first spike, set the advised clip, lower the learning rate",
    "outlier_batch": "nothing to do; a sets the advised clip for the next one",
    "bad_data": "R: roll back and leave that stretch of text out; the black box shows it",
    "overfitting": "r: roll back to the best validation loss, or n: land",
    "non_finite": "R: roll back if it goes on; a sets the advised clip",
    "dead": "R: roll back and lower the learning rate",
    "vanishing": "+: raise the learning rate, or begin again with another --init",
    "plateau": "+: raise the learning rate",
    "healthy": "nothing to do",
    "unclear": "R: roll back; it costs little, and undo undoes it",
}
REMEDY_MADE = "R: roll back to before the first of them"
REMEDIES_OF_A_SCRIPT = {
    "bad_data": "look at what the loop read here; R: roll back",
    "vanishing": "+: raise the learning rate",
}


def words_of(cause: str, *, own: bool = True, made: bool = False) -> tuple[str, str]:
    """Return the sentence and the remedy of a cause: in a model that is our `own` or in somebody's loop; `made` if
    steps that are not finite were made all the same."""
    if made and cause == "non_finite":
        return MADE, REMEDY_MADE
    if own:
        return SENTENCES[cause], REMEDIES[cause]
    return OF_A_SCRIPT.get(cause, SENTENCES[cause]), REMEDIES_OF_A_SCRIPT.get(cause, REMEDIES[cause])
