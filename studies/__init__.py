"""Experiments with moevae: what to run, run it exactly once, records, statistics, reports."""
