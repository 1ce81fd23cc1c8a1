"""Toy runs, toy studies and synthetic records for tests and benchmarks."""
