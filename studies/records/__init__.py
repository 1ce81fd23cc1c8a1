"""Records of runs: schema, store, lock and study file."""
