"""Optuna's storage as a mirror of the records."""
