"""Pre-training: data streams, training step and loop, checkpoints, launch through torchrun.

Nothing is imported here: encoders are above `family` and `data`, and below `loop` and `launch`.
"""
