"""Statistics of a study, computed from its records without torch or Optuna."""
