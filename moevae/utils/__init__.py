"""Devices, random streams, atomic files, progress and provenance."""
