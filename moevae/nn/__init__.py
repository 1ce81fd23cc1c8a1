"""Layers stacked over runs and experts, independent of the mixture model."""
