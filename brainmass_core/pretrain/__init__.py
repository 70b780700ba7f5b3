"""Pre-training: streaming, the step, the loop, checkpoints, launch through torchrun."""

from brainmass_core.pretrain.launch.torchrun import run

__all__ = ["run"]
