"""Output files of preprocessing: names, formats, provenance."""
