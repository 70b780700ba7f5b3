"""The training loop: steps, checkpoints, ranks, progress."""
