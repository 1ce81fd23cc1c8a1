"""The pieces of a step that may fall off a cliff, and what surrounds the steps: data, metrics, memory."""

import numpy as np
import pytest
import torch
from steps import training_step
from torch.nn import functional

from moevae import metrics
from moevae.densities import bernoulli_log_prob
from moevae.train import Batches, Training


@pytest.mark.benchmark(group="data")
@pytest.mark.parametrize("binarization", ["dynamic", "none"])
def test_batches(measure, device, plan, binarization):
    sizes = plan.mixture
    feed = Batches([sizes.config({"data.binarization": binarization})], sizes.images().train, device)
    found = measure(
        f"batches, {binarization}",
        lambda: [batch.seen for batch in feed.epoch()],
        images=feed.steps * feed.size,
    )
    shown = found[0][0]
    assert shown.shape == (1, sizes.batch, sizes.side**2)
    assert (shown >= 0).all()
    assert (shown <= 1).all()


@pytest.mark.benchmark(group="metrics")
def test_clustering(measure, plan):
    stream = np.random.default_rng(0)
    labels = stream.integers(0, 10, plan.counts[-1])
    found = measure(
        "acc, nmi and ari", lambda: metrics.clustering((labels + 3) % 10, labels), images=labels.size
    )
    assert found[0] == pytest.approx({"acc": 1, "nmi": 1, "ari": 1})


@pytest.mark.benchmark(group="Bernoulli loss, forward and backward")
def test_bernoulli(measure, device, plan):
    sizes = plan.mixture
    stream = torch.Generator().manual_seed(0)
    shape = (1, sizes.experts, sizes.batch, sizes.side**2)
    logits = torch.randn(shape, generator=stream).to(device).requires_grad_()
    x = torch.rand(1, 1, *shape[2:], generator=stream).round().to(device)

    def gradient(log_prob):
        return torch.autograd.grad(log_prob(logits, x).sum(), logits)[0]

    def plain(logits, x):
        return (x * logits - functional.softplus(logits)).sum(-1)

    found = measure(
        "Bernoulli",
        lambda: gradient(bernoulli_log_prob),
        images=sizes.batch,
        beside=lambda: gradient(plain),
    )
    torch.testing.assert_close(found[0], gradient(plain))


@pytest.mark.benchmark(group="cliffs")
def test_a_sharp_gate_costs_no_more_than_a_soft_one(measure, device, plan):
    """Without flushing, probabilities too small for a normal float made a step 33 times slower."""
    sizes = plan.at(batch=plan.batches[0])
    sharp = training_step(sizes, device, {"routing.temperature": 1e-3})
    measure("a gate at temperature 0.001", sharp, images=sizes.batch, beside=training_step(sizes, device))


@pytest.mark.benchmark(group="cliffs")
@pytest.mark.parametrize("fused", [True, False])
def test_adam(measure, device, plan, fused):
    training = Training([plan.mixture.config()], plan.mixture.images(), device)
    parameters = list(training.model.parameters())
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.Adam(parameters, fused=fused, foreach=False)
    measure("Adam, fused" if fused else "Adam, plain", optimizer.step, images=plan.mixture.batch)
    assert all(parameter.isfinite().all() for parameter in parameters)


@pytest.mark.benchmark(group="training epoch by number of images")
def test_epoch(measure, device, plan, at_counts):
    sizes = plan.small
    training = Training([sizes.config({"train.epochs": 10**6})], sizes.images(at_counts), device)
    found = measure(
        "digits' sizes", training.epoch, images=at_counts, rounds=min(plan.rounds, 5), images_seen=at_counts
    )
    assert not any(found[-1].failures)
