"""Components of a step, and data, metrics and epochs."""

import math

import flops
import numpy as np
import pytest
import torch
from torch.nn import functional

from moevae.data.binarization import to_float
from moevae.distributions import bernoulli_log_prob
from moevae.evaluation import clustering
from moevae.evaluation.iwae import iwae_bound
from moevae.evaluation.log_weights import BLOCK
from moevae.models.mixture import Mixture
from moevae.nn.grouped_linear import grouped_linear
from moevae.training.batches import Batches
from moevae.training.trainer import Trainer
from moevae.utils.rng import RunGenerators


@pytest.mark.benchmark(group="data")
@pytest.mark.parametrize("binarization", ["dynamic", "none"])
def test_batches(measure, device, plan, binarization):
    sizes = plan.mixture
    feed = Batches(
        [sizes.config({"data.binarization": binarization})], sizes.images().train, sizes.images().size, device
    )
    found = measure(
        f"batches, {binarization}",
        lambda: [batch.target for batch in feed.epoch()],
        images=feed.steps * feed.size,
    )
    shown = found[0][0]
    assert shown.shape == (1, sizes.batch, sizes.side**2)
    assert (shown >= 0).all()
    assert (shown <= 1).all()


@pytest.mark.benchmark(group="metrics")
@pytest.mark.usefixtures("of_the_cpu")
def test_clustering(measure, plan):
    stream = np.random.default_rng(0)
    labels = stream.integers(0, 10, plan.counts[-1])
    found = measure(
        "acc, nmi and ari", lambda: clustering.clustering((labels + 3) % 10, labels), images=labels.size
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
        versus=lambda: gradient(plain),
    )
    torch.testing.assert_close(found[0], gradient(plain))


@pytest.mark.benchmark(group="importance-weighted bound by samples looked at together")
@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_iwae_chunks(measure, device, plan, chunk):
    """All experts and 16 samples of a block of images; the chunk affects memory, not results."""
    sizes, samples = plan.mixture, 16
    experts = Mixture(sizes.config().model, (sizes.side, sizes.side), (0,)).to(device).experts
    x = to_float(sizes.images().train[None, :BLOCK]).to(device)
    chosen = torch.arange(sizes.experts, device=device)[None, :, None].expand(1, -1, BLOCK)
    log_prior = torch.full((1, sizes.experts), -math.log(sizes.experts), device=device)

    def bound(chunk):
        noise = RunGenerators([0], "bench", device)
        return iwae_bound(experts, x, chosen, log_prior, noise, samples, chunk).bound

    found = measure(
        f"{samples} samples",
        lambda: bound(chunk),
        images=BLOCK,
        flops=flops.importance(sizes, samples),
        target_share=0.75 if device.type == "cpu" and chunk == samples else None,
        chunk=chunk,
    )
    torch.testing.assert_close(found[0], bound(samples), rtol=1e-5, atol=0)


@pytest.mark.benchmark(group="products of groups of rows, forward and backward")
def test_grouped(measure, device, plan, at_batches):
    """One product per group, compared with torch's grouped_mm, which older supported versions do not have."""
    if not hasattr(functional, "grouped_mm"):
        pytest.skip(f"grouped_mm: torch {torch.__version__} has none")
    sizes, rows = plan.mixture, at_batches
    stream = torch.Generator().manual_seed(0)
    shape = (sizes.experts, sizes.hidden, sizes.side**2)
    weight, x = torch.randn(shape, generator=stream), torch.randn(rows, sizes.hidden, generator=stream)
    ends = torch.randint(sizes.experts, (rows,), generator=stream).bincount(minlength=sizes.experts).cumsum(0)
    weight, x = (each.to(device).requires_grad_() for each in (weight, x))
    bias, offsets = weight.new_zeros(shape[0], shape[2]), ends.to(device, torch.int32)

    def gradients(product):
        return torch.autograd.grad(product.square().sum(), (x, weight))

    def slices():
        return gradients(grouped_linear(x, weight[None], bias[None], ends.tolist()))

    def whole():
        return gradients(functional.grouped_mm(x, weight, offs=offsets))

    found = measure(
        "slices, against grouped_mm",
        slices,
        images=rows,
        flops=6 * sizes.hidden * sizes.side**2,
        versus=whole,
        batch=rows,
    )
    for ours, theirs in zip(found[0], whole(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-2)


@pytest.mark.benchmark(group="training epoch by number of images")
def test_epoch(measure, device, plan, at_counts):
    sizes = plan.small
    training = Trainer([sizes.config({"train.epochs": 10**6})], sizes.images(at_counts), device)
    found = measure(
        "digits' sizes", training.epoch, images=at_counts, rounds=min(plan.rounds, 5), images_seen=at_counts
    )
    assert not any(found[-1].failures)
