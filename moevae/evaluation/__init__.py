"""Evaluation of trained populations: bounds, clustering metrics, calibration, merged and split classes."""
