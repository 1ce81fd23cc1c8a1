"""Clustering of images without labels by the graph of their nearest neighbors, from which gates can start."""
