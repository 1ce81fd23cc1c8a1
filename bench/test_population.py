"""Cost of a run in a population, alone and in the naive loop, and the time of a complete cell."""

import math
from dataclasses import replace

import flops
import pytest
from steps import PATHS, check, training_step

from moevae.data.datasets import Images
from moevae.evaluation.evaluate import evaluate
from moevae.training.population import Population


def against_alone(measure, device, sizes, runs, row, other=None):
    losses = measure(
        row,
        training_step(sizes, device, runs=runs),
        images=sizes.batch * runs,
        flops=flops.training(sizes),
        versus=training_step(sizes, device),
        rival=other,
        runs=runs,
    )
    check(losses, sizes)


@pytest.mark.benchmark(group="population of small models")
def test_small(measure, device, plan, at_runs):
    against_alone(measure, device, plan.small, at_runs, "digits' sizes")


@pytest.mark.benchmark(group="population of MNIST-sized models")
def test_mixture(measure, device, rival, plan, at_runs_of_mixture):
    sizes = plan.at(batch=plan.batches[0])
    against_alone(measure, device, sizes, at_runs_of_mixture, "MNIST's sizes", rival(sizes))


@pytest.mark.benchmark(group="a whole cell, from configurations to metrics")
@pytest.mark.parametrize("path", ["soft", "soft, bfloat16", "top-1"])
def test_cell(benchmark, device, plan, path):
    """A cell as in a study; the images are noise, which takes the same time."""
    if device.type != "cuda":
        pytest.skip("a whole cell: on CUDA alone")
    sizes, (runs, epochs, count) = plan.mixture, plan.cell
    pixels = sizes.images(count).train
    images = Images("noise", "0" * 64, sizes.side, sizes.side, pixels, pixels[:0], pixels[: count // 6])
    few = replace(images, train=pixels[: sizes.batch], test=pixels[:1])

    def cell(images, epochs):
        configs = [sizes.config(PATHS[path] | {"train.epochs": epochs}, seed) for seed in range(runs)]
        population = Population(configs, images, device)
        while not population.done:
            population.epoch()
        fit = population.result()
        return fit.seconds, [each.metrics["mixture_elbo"] for each in evaluate(fit.model, configs, images)]

    cell(few, 1)  # libraries are loaded, and kernels chosen, at the first call
    training, bounds = benchmark.pedantic(cell, (images, epochs), rounds=1)
    benchmark.extra_info |= {
        "runs": runs,
        "epochs": epochs,
        "images": count,
        "batch size": sizes.batch,
        "seconds of training": training,
        "runs a second": runs / benchmark.stats.stats.median,
    }
    coins = sizes.side**2 * math.log(2)
    assert all(-1.5 * coins < bound < -0.95 * coins for bound in bounds), (coins, bounds)
