"""Pre-training: data streams, training step and loop, checkpoints, launch through torchrun."""

from brainmass_core.pretrain.launch.torchrun import run

__all__ = ["run"]
