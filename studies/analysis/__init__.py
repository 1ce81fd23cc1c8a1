"""What is computed of a study's records: needs neither torch nor Optuna."""
