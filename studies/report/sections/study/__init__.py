"""Sections about the study as a whole: setup, provenance, reading and reproduction."""
