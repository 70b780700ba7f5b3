"""Anatomical processing: brain, tissues and normalisation, once per T1w for all runs."""
