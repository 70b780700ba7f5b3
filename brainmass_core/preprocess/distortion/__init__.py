"""Distortion along the phase-encoding axis: fieldmaps, and displacement from images."""
