"""Records of runs: schema, store, lock, origins and study file."""
