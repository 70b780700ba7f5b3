"""BrainMass (Yang et al., IEEE TMI 2024): an encoder of functional connectivity."""
