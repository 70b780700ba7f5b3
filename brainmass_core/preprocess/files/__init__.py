"""What preprocessing leaves on disk: names, formats, provenance."""
