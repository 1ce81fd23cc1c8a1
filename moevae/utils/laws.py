"""Laws that checks of registered functions state."""

from __future__ import annotations


def law(holds: bool, text: str) -> None:
    """Check that a law holds.

    Args:
        holds: whether it does.
        text: the law, such as `values are finite`.

    Raises:
        AssertionError: it does not; the message is `broken law: ` and the text.
    """
    if not holds:
        raise AssertionError(f"broken law: {text}")
