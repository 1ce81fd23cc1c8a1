"""What a study is to run: profiles, axes, cells, and the registry of baselines."""
