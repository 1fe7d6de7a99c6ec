"""What the numbers mean: folds over events. numpy and the standard library only."""
