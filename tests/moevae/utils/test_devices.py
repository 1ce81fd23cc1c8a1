"""Devices: resolved by name, refused by name, and described."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from moevae.errors import ConfigError
from moevae.utils import devices


def test_the_cpu_is_always_there():
    assert devices.resolve("cpu") == torch.device("cpu")
    assert devices.available()[-1] == torch.device("cpu")


def test_auto_takes_the_first_accelerator_there_is():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert devices.resolve("auto").type == expected


@pytest.mark.parametrize("name", ["tpu", "cpu:x", "cpu:7", "cuda:99", "", "CPU", "xla"])
def test_a_device_that_is_not_there_is_refused_in_one_line(name):
    with pytest.raises(ConfigError) as caught:
        devices.resolve(name)
    message = str(caught.value)
    assert message.startswith(f"device {name!r} is not available; expected one of: ")
    assert "cpu" in message
    assert "\n" not in message


def test_preparing_flushes_denormals_and_sets_threads():
    before = torch.get_num_threads()
    try:
        devices.prepare(threads=1)
        assert torch.get_num_threads() == 1
        assert (torch.tensor([1e-39]) * 0.5).item() == 0
    finally:
        torch.set_num_threads(before)


def _flushing() -> bool:
    return (torch.tensor([1e-39]) * 0.5).item() == 0


@pytest.mark.parametrize("flushing", [False, True])
def test_a_steady_cpu_is_left_as_it_was_found(flushing, one_thread_again):
    torch.set_num_threads(2)
    torch.set_flush_denormal(flushing)
    with devices.cpu_settings(threads=1):
        assert _flushing()
        assert torch.get_num_threads() == 1
    assert _flushing() == flushing
    assert torch.get_num_threads() == 2
    with devices.cpu_settings():
        assert torch.get_num_threads() == 2


def test_the_description_of_a_device_agrees_with_the_system():
    found = devices.describe(torch.device("cpu"))
    assert (found["device"], found["precision"]) == ("cpu", "float32")
    assert found["threads"] == torch.get_num_threads()
    assert found["cores"] == os.cpu_count()
    assert found["device_name"]
    assert found["memory_gib"] > 0


def test_synchronization_with_the_cpu_does_nothing():
    devices.synchronize(torch.device("cpu"))


def test_energy_is_the_sum_of_the_processors_counters(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_POWER", tmp_path)
    assert devices.energy(torch.device("cpu")) is None
    for package, microjoules in enumerate(("1500000\n", "500000\n")):
        (tmp_path / f"intel-rapl:{package}").mkdir()
        (tmp_path / f"intel-rapl:{package}" / "energy_uj").write_text(microjoules)
    assert devices.energy(torch.device("cpu")) == 2.0
    assert devices.energy(torch.device("mps")) is None


_BLOCKS = """
import psutil, torch
from moevae.utils import devices

def used():
    return psutil.Process().memory_info().rss / 2**20

devices.keep_freed_memory()
before = used()
blocks = [torch.ones(1 << 18) for _ in range(300)]  # 1 MiB each
kept = blocks[-1]  # the top of the heap stays in use
del blocks
freed = used()
devices.return_freed_memory()
print(freed - before, used() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have no such settings")
def test_glibc_keeps_freed_memory_until_it_is_returned():
    found = subprocess.run([sys.executable, "-c", _BLOCKS], check=True, capture_output=True, text=True)
    kept, left = map(float, found.stdout.split())
    assert kept > 250
    assert left < 50
