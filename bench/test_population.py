"""What a run costs in company, against alone."""

import flops
import pytest
from steps import check, training_step


def against_alone(measure, device, sizes, runs, row):
    losses = measure(
        row,
        training_step(sizes, device, runs=runs),
        images=sizes.batch * runs,
        flops=flops.training(sizes),
        beside=training_step(sizes, device),
        runs=runs,
    )
    check(losses, sizes)


@pytest.mark.benchmark(group="population of small models")
def test_small(measure, device, plan, at_runs):
    against_alone(measure, device, plan.small, at_runs, "digits' sizes")


@pytest.mark.benchmark(group="population of MNIST-sized models")
def test_mixture(measure, device, plan, at_runs_of_mixture):
    sizes = plan.at(batch=plan.batches[0])
    against_alone(measure, device, sizes, at_runs_of_mixture, "MNIST's sizes")
