"""A study's report: a pure function of its records."""
