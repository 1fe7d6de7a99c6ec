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
