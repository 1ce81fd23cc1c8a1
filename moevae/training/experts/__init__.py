"""Experts at the start of training and during it: their first templates, pruning and revival."""
