"""The sections of a configuration, one frozen dataclass a module."""
