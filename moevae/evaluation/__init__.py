"""Measuring trained populations: bounds, clustering scores, calibration, merged and split classes."""
