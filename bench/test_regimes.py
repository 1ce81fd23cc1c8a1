"""Known performance cliffs: denormals, threads that spin while cores are shared, plain Adam."""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest
import torch
from naive_process import contestant
from steps import training_step

from moevae.training.trainer import Trainer

pytestmark = pytest.mark.benchmark(group="cliffs")


def test_a_sharp_gate_costs_no_more_than_a_soft_one(measure, device, plan):
    """Without flushing, denormal probabilities made a step 33 times slower."""
    sizes = plan.at(batch=plan.batches[0])
    sharp = training_step(sizes, device, {"routing.temperature": 1e-3})
    measure("a gate at temperature 0.001", sharp, images=sizes.batch, versus=training_step(sizes, device))


@pytest.mark.usefixtures("of_the_cpu")
def test_threads_that_wait_beside_threads_that_spin(measure, plan, pytestconfig):
    """A step on all cores, each shared with a busy process: passive waiting compared with active waiting."""
    cores = os.cpu_count() or 1
    given = {"threads": cores, "size": pytestconfig.getoption("--size")}
    with ExitStack() as stack:
        passive, active = (
            stack.enter_context(
                contestant("idle.py", given=given, environment=os.environ | {"OMP_WAIT_POLICY": policy})
            )
            for policy in ("PASSIVE", "ACTIVE")
        )
        for each in (passive, active):
            each.step()  # the child process has imported its libraries
        for _ in range(cores):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        measure(
            "threads that wait, against threads that spin",
            passive.step,
            images=plan.small.batch,
            versus=active.step,
            wall=True,
        )
    assert passive.losses == active.losses[: len(passive.losses)]


@pytest.mark.parametrize("fused", [True, False])
def test_adam(measure, device, plan, fused):
    training = Trainer([plan.mixture.config()], plan.mixture.images(), device)
    parameters = list(training.model.parameters())
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.Adam(parameters, fused=fused, foreach=False)
    measure("Adam, fused" if fused else "Adam, plain", optimizer.step, images=plan.mixture.batch)
    assert all(parameter.isfinite().all() for parameter in parameters)
