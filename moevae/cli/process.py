"""Process-wide settings of a command line, and its exit code."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from moevae.errors import CORRECTABLE, TOO_MANY_FILES, MoevaeError
from moevae.utils.redaction import redacting

_NO_TEMPORARY_FOLDER = ("No usable temporary directory", "MPLCONFIGDIR")
"""Words of the errors of `tempfile` and of matplotlib, which have no number of their own."""


def exit_code(work: Callable[[], int]) -> int:
    """Run a function; return its exit code, 2 for an error, 130 for an interrupt, 141 for a closed pipe.

    No password reaches standard output or standard error.
    """
    _open_streams()
    with redacting(), _short_warnings():
        return _exit_code(work)


def restore_default_interrupt() -> None:
    """Restore the default handler of SIGINT, which prints no traceback; call this when the work is done."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def _short_warnings() -> Iterator[None]:
    """Print a warning as one line, without its position in the code."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def _exit_code(work: Callable[[], int]) -> int:
    try:
        code = work()
        sys.stdout.flush()
        return code
    except MoevaeError as error:
        print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"interrupted{f': {interrupt}' if interrupt.args else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _close_output()
        return 141
    except OSError as error:
        if error.errno in TOO_MANY_FILES:
            limit = "; raise the limit, for example with `ulimit -n 1024`"
            print(f"error: too many open files{limit}", file=sys.stderr)
        elif any(words in str(error) for words in _NO_TEMPORARY_FOLDER):
            print("error: no folder for temporary files; set TMPDIR to a writable folder", file=sys.stderr)
        elif error.errno in CORRECTABLE:
            if error.filename is None:
                _close_output()
            print(f"error: {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
        else:
            raise
        return 2
    except (MemoryError, RuntimeError) as error:
        if str(error).startswith("Symlink loop"):  # of `Path.resolve` before Python 3.13
            print(f"error: {error}", file=sys.stderr)
            return 2
        if not _out_of_memory(error):
            raise
        print(
            "error: out of memory; reduce model.num_experts, model.expert_hidden or train.batch_size, use "
            "smaller images, or set --memory where the command has it",
            file=sys.stderr,
        )
        return 2


def _out_of_memory(error: Exception) -> bool:
    """Return whether memory could not be allocated; torch raises a RuntimeError for that of a CPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in ("can't allocate memory", "not enough memory"))
    )


def _open_streams() -> None:
    """Make all text printable: escape what a stream cannot encode, and replace closed streams."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _close_output() -> None:
    """Discard further standard output; Python would report the error again when it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
