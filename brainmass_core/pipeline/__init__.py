"""The pipeline: table of stages, hashes, DAG, batches and records."""
