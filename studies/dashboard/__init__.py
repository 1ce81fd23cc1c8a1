"""A study in optuna-dashboard: server, annotations, artifacts and plots."""
