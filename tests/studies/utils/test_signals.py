"""Signals end the work between atomic steps."""

import os
import signal
import subprocess
import sys

import pytest

from studies.utils import signals
from studies.utils.signals import Terminated, terminable

both = pytest.mark.parametrize(
    ("sent", "raised"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)


def send(sent):
    os.kill(os.getpid(), sent)


def logged_by(work, raised):
    """Run work that logs its progress; return the log after it has raised."""
    notes = []
    with pytest.raises(raised), terminable():
        work(notes.append)
    return notes


@both
def test_a_signal_ends_the_work_at_once(sent, raised):
    def work(note):
        send(sent)
        note("after it")

    assert not logged_by(work, raised)


@both
def test_a_held_signal_waits_for_the_end_of_the_block(sent, raised):
    def work(note):
        with signals.defer_signals():
            with signals.defer_signals():
                send(sent)
                note("inside")
            note("outside")
        note("after it")

    assert logged_by(work, raised) == ["inside", "outside"]


@both
def test_a_held_signal_waits_until_it_is_delivered(sent, raised):
    def work(note):
        with signals.defer_signals():
            send(sent)
            note("held")
            with signals.deliver_signals():
                note("heeding")

    assert logged_by(work, raised) == ["held"]


def test_delivery_lets_later_signals_through():
    def work(note):
        with signals.defer_signals(), signals.deliver_signals():
            send(signal.SIGTERM)
            note("after it")

    assert not logged_by(work, Terminated)


def test_an_error_is_reported_before_a_deferred_signal():
    def work(note):
        with signals.defer_signals():
            send(signal.SIGTERM)
            raise OSError("the disk is full")

    logged_by(work, OSError)
    with terminable(), signals.defer_signals():
        pass  # the signal is not left over for others


def test_handlers_are_put_back_and_ignored_interrupts_stay_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with terminable():
            send(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("first", "second"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT"), ("SIGINT", "SIGTERM")]
)
def test_a_second_signal_ends_the_process_at_once_without_output(first, second):
    """The first one waits, as for a database that does not answer."""
    work = f"""
import os, signal, time
from studies.utils.signals import defer_signals, terminable
signal.signal(signal.SIGINT, signal.default_int_handler)
with terminable(), defer_signals():
    os.kill(os.getpid(), signal.{first})
    print("still here", flush=True)
    os.kill(os.getpid(), signal.{second})
    print("never", flush=True)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", work], capture_output=True, text=True, check=False, env=environment
    )
    assert ended.returncode == -getattr(signal, second)
    assert (ended.stdout, ended.stderr) == ("still here\n", "")
