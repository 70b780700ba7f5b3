"""Launch of pre-training through torchrun, and the worker of one rank."""
