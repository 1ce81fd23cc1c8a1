"""Text formatting, signals, garbage collection."""
