"""Errors that a user can correct. A message is one line: what is wrong, where, and what was expected."""

import errno

TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
"""Numbers of the error that too many files are open."""

CORRECTABLE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EBADF, errno.EIO),
    *TOO_MANY_FILES,
}
"""Numbers of system errors that a user can correct, such as a full disk or a folder without write access."""


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
