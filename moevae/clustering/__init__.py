"""Clustering of images without labels on the graph of their neighbors; what follows it is a gate."""
