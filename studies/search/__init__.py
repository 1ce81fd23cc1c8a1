"""Searches: spaces, objectives, trials, and the driver that runs them."""
