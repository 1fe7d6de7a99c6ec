"""What is read off frozen weights: losses, gates, gradients through time, samples."""
