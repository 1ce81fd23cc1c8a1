"""The design of a study: profiles, axes, cells, and the registry of baselines."""
