"""One VAE, compared with VAEs of the same sizes from other packages, if these are installed."""

import os
import subprocess

import flops
import pytest
import torch
from naive_process import contestant
from steps import check, training_step

PEERS = {"pythae": "pythae's VAE", "clustpy": "ClustPy's VaDE of one cluster"}


@pytest.mark.benchmark(group="one VAE against other packages")
@pytest.mark.parametrize("peer", PEERS)
def test_peer(measure, device, plan, pytestconfig, peer):
    python = pytestconfig.getoption("--peers-python")
    if subprocess.run([python, "-c", f"import {peer}"], capture_output=True).returncode:
        pytest.skip(f"{PEERS[peer]}: not installed (nox -s peers makes an environment that has it)")
    sizes = plan.at(experts=1)
    given = sizes.naive | {"device": device.type, "threads": torch.get_num_threads()}
    with contestant("clustpy_timing.py", peer, given=given, environment=os.environ, python=python) as other:
        losses = measure(
            f"one VAE, against {PEERS[peer]}",
            training_step(sizes, device),
            images=sizes.batch,
            flops=flops.training(sizes),
            against=other,
        )
    check(losses, sizes, other.losses if peer == "pythae" else None)
