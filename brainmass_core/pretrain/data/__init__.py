"""What is pre-trained on: the index of eligible scans, and streams of batches."""
