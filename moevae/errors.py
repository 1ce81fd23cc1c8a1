"""Mistakes that a person can mend. Their message is one line: what is wrong, where, what would be right."""


class MoevaeError(Exception):
    """Base of all errors that a command line shows as one line, with exit code 2."""


class ConfigError(MoevaeError):
    """A key, value or preset that no run can have."""


class DataError(MoevaeError):
    """A data set that is missing, broken or not of the expected form."""


class CheckpointError(MoevaeError):
    """A checkpoint that is missing, broken or of another shape."""


class IdentityError(MoevaeError):
    """Data or code that is not the one that a study, a driver or a snapshot has."""


class RecordError(MoevaeError):
    """A record or a study folder that cannot be trusted."""
