"""Searches: spaces, objectives, trials and the driver."""
