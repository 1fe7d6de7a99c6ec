"""Several processes that train one model, as torchrun starts them: rank 0 has the run, the others follow it."""
