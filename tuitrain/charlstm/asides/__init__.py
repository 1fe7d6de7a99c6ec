"""Work beside training, in slices between steps: evaluations, probes, samples."""
