"""The sections of a report, one idea a module."""
