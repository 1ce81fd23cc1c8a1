"""One module a command of `python -m studies`; each prints its results on standard output."""
