"""A text file as numbers: vocabulary, split, batches, and the losses that n-gram counts reach."""
