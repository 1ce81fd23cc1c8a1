"""Training: the loop, the trainer, populations, the optimizer, schedules, snapshots and checkpoints."""
