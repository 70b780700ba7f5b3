"""Data of pre-training: the index of eligible scans, and streams of batches."""
