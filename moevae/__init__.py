"""Unsupervised mixtures of variational autoencoders."""
