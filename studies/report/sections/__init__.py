"""Sections of a report, by what they are about: the study, its cells, or its runs."""
