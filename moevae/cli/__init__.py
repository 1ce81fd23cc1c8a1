"""The command line of the core: one module a command, options, and how mistakes are reported."""
