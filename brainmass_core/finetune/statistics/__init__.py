"""Scores with intervals, comparisons and permutation tests."""
