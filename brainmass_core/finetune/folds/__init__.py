"""Folds: training and test scans."""
