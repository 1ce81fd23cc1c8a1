"""The command line of the studies: one module a command."""
