"""Measures of a run for its quality page, and criteria for exclusion."""
