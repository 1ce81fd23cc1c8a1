"""One module a command of `python -m moevae`; each prints its results on standard output."""
