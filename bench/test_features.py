"""Deformable experts against a naive loop, consistency terms against the plain step, neighbors, memory."""

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import memory
import pytest
import torch
from sizes import Sizes

from moevae.config.overrides import override
from moevae.config.presets import preset
from moevae.data import neighbors
from moevae.evaluation.evaluate import evaluate
from moevae.models.mixture import Mixture
from moevae.training.trainer import Trainer

CONSISTENCY = [("vat",), ("vat", "knn-stretch")]


def last_step(changes, name, device, batch):
    """Return a function that trains a step of a preset on noise as at the end of training, unpruned."""
    config = override(preset(name), changes | {"train.batch_size": batch})
    training = Trainer([config], Sizes(batch=batch).images(), device)
    last = config.train.epochs * training.batches.steps - 1
    feed = iter(())

    def step():
        nonlocal feed
        batch = next(feed, None)
        if batch is None:
            feed = training.batches.epoch()
            batch = next(feed)
        return training.step(last, batch).total

    return step


@pytest.mark.benchmark(group="training step of deformable experts")
@pytest.mark.usefixtures("of_the_cpu")
def test_deformable(measure, device, rival):
    """All deformations of `deformable-mnist` and 20 experts, of which the best one trains."""
    sizes = Sizes(experts=20, batch=128)
    unpruned = {"train.pruning_start": 1.0, "train.pruning_end": 1.0}
    losses = measure(
        "hard EM of deformable experts",
        last_step(unpruned, "deformable-mnist", device, sizes.batch),
        images=sizes.batch,
        rival=rival(sizes, deformable=True),
        target=3.0,
    )
    assert torch.stack(losses).isfinite().all()


@pytest.mark.benchmark(group="consistency terms, against the plain step")
@pytest.mark.parametrize("terms", CONSISTENCY, ids=" and ".join)
def test_consistency(measure, device, terms):
    """The gate of `imsat-mnist` and the experts that follow it, with consistency terms and without."""
    losses = measure(
        " and ".join(terms),
        last_step({"objective.consistency": terms}, "imsat-mnist", device, 256),
        images=256,
        versus=last_step({"objective.consistency": ()}, "imsat-mnist", device, 256),
        target=0.4,
    )
    assert torch.stack(losses).isfinite().all()


@pytest.mark.usefixtures("of_the_cpu")
@pytest.mark.parametrize(("count", "side"), [(60_000, 28), (10_000, 96)])
def test_neighbors(benchmark, device, count, side):
    """Noise has no near neighbors, but the search compares all pairs and takes as long."""
    stream = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, side * side), generator=stream, dtype=torch.uint8)
    held = memory.reset(device)
    begin = time.process_time()
    found = benchmark.pedantic(neighbors.nearest_neighbors, (images,), rounds=1)
    benchmark.extra_info |= {
        "what": f"ten neighbors of {count:,} images of {side} x {side}",
        "seconds": time.process_time() - begin,
        "peak_memory_mib": round((memory.peak(device) - held) / 2**20),
        **({"target": 60} if side == 28 else {}),
    }
    assert found.shape == (count, neighbors.NEAREST)


@pytest.mark.usefixtures("of_the_cpu")
@pytest.mark.parametrize("limit", [64, 256])
def test_memory_of_evaluation(benchmark, plan, limit):
    """The growth of a process, in MiB, versus the limit that `evaluate` is given.

    The process is new: freed blocks of earlier work would divide the memory into parts.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        seconds, grown = benchmark.pedantic(
            lambda: processes.submit(_evaluate_within, plan.mixture, limit).result(), rounds=1
        )
    benchmark.extra_info |= {
        "what": f"evaluation with `--memory {limit}MiB`",
        "seconds": seconds,
        "peak_memory_mib": round(grown),
        "limit_mib": limit,
    }
    assert grown < 1.1 * limit


def _evaluate_within(sizes: Sizes, limit: int) -> tuple[float, float]:
    """Return the processor time of an evaluation, and the growth of this process in MiB."""
    device = torch.device("cpu")
    torch.set_num_threads(1)
    config, images = sizes.config({"evaluation.iwae_samples": 16}), sizes.images(2048)
    model = Mixture(config.model, images.size, (0,)).to(device)
    evaluate(model, [config], replace(images, test=images.test[:128]), chunk=2048, memory=limit << 20)
    held = memory.reset(device)
    begin = time.process_time()
    evaluate(model, [config], images, chunk=2048, memory=limit << 20)
    return time.process_time() - begin, (memory.peak(device) - held) / 2**20
