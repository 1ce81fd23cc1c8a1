"""Training of populations: the loop, optimizer, schedules, precision, snapshots and checkpoints."""
