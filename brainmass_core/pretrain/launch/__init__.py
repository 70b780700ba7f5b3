"""Starting pre-training through torchrun, and what one rank does."""
