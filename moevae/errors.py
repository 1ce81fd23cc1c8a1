"""Errors that a user can correct. A message is one line: what is wrong, where, and what was expected."""


class MoevaeError(Exception):
    """Base class of the errors that the command line prints as one line, with exit code 2.

    Examples:
        >>> import moevae
        >>> try:
        ...     moevae.preset("mnits")
        ... except moevae.MoevaeError as error:
        ...     print("mnist" in str(error))
        True
    """


class ConfigError(MoevaeError):
    """An invalid key, value or preset of a configuration."""


class ParameterError(ConfigError, ValueError):
    """An invalid parameter of an estimator; also a ValueError, which users of scikit-learn expect."""


class DataError(MoevaeError):
    """A data set that is missing, corrupt or of an unexpected form."""


class CheckpointError(MoevaeError):
    """A checkpoint or snapshot that is missing, corrupt or of other shapes."""


class IdentityError(MoevaeError):
    """Data or code that differs from that of a study, a driver or a snapshot."""


class RecordError(MoevaeError):
    """A record or a study folder that is corrupt or inconsistent."""
