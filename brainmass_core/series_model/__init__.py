"""Analyses of a pre-trained model of time series (BrainLM)."""
