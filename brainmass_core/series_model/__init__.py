"""What is done with a pre-trained model of time series (BrainLM); arrays and tensors, no files."""
