"""Utilities: text formatting, signals, file limits, garbage collection."""
