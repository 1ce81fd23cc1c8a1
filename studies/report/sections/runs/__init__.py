"""Sections about runs and their gates, experts and classes."""
