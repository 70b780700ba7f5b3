"""Distortion along the phase-encoding axis: from fieldmaps or from images."""
