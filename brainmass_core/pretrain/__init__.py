"""Pre-training: streaming, the step, the loop, checkpoints, launch through torchrun.

Nothing is imported here: encoders are above `family` and `data`, and below `loop` and `launch`.
"""
