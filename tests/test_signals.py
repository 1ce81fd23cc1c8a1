"""Signals end the work, but cut nothing in two."""

import os
import signal

import pytest

from studies import signals
from studies.signals import Stopped, terminable

KINDS = [(signal.SIGTERM, Stopped), (signal.SIGINT, KeyboardInterrupt)]


def send(sent):
    os.kill(os.getpid(), sent)


@pytest.mark.parametrize(("sent", "raised"), KINDS)
def test_a_signal_ends_the_work_at_once(sent, raised):
    done = []
    with pytest.raises(raised), terminable():
        send(sent)
        done.append("after it")
    assert not done


@pytest.mark.parametrize(("sent", "raised"), KINDS)
def test_a_held_signal_waits_for_the_end_of_the_block(sent, raised):
    done = []
    with pytest.raises(raised), terminable():
        with signals.held(), signals.held():
            send(sent)
            done.append("held")
        done.append("after it")
    assert done == ["held"]


@pytest.mark.parametrize(("sent", "raised"), KINDS)
def test_a_held_signal_waits_until_somebody_heeds_it(sent, raised):
    done = []
    with pytest.raises(raised), terminable(), signals.held():
        send(sent)
        done.append("held")
        with signals.heeding():
            done.append("heeding")
    assert done == ["held"]


def test_heeding_lets_a_signal_through_that_comes_then():
    done = []
    with pytest.raises(Stopped), terminable(), signals.held(), signals.heeding():
        send(signal.SIGTERM)
        done.append("after it")
    assert not done


def test_a_held_error_is_told_before_the_signal_that_came_meanwhile():
    with pytest.raises(OSError, match="disk"), terminable(), signals.held():
        send(signal.SIGTERM)
        raise OSError("the disk is full")
    with terminable(), signals.held():
        pass  # and the signal is not left over for others


def test_handlers_are_put_back_and_ignored_interrupts_stay_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with terminable():
            send(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
