"""Baselines: other methods, fitted to the same data with the same seeds."""
