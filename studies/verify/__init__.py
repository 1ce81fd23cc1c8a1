"""Checking a study against its records, rebuilding its storage, rerunning its runs."""
