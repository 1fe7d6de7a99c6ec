"""A text file as numbers: vocabulary, split, batches, and what counting alone would reach."""
