"""Pre-training: data streams, training step and loop, checkpoints, launch through torchrun.

Nothing is imported here: encoders are above `model_spec` and `data`, and below `loop` and `launch`.
"""
