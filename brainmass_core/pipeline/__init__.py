"""How the stages hang together: their table, hashes, the DAG, batches and records."""
