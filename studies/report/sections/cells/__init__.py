"""Sections that compare cells: results, effects of axes, selection and baselines."""
