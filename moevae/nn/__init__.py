"""Layers stacked over runs and experts; nothing here knows of mixtures."""
