"""Optuna's storage, kept as a mirror of the records."""
