"""Invariant information: the value and the gradient of the mutual information of pairs, by brute force."""

import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch.nn import functional

from moevae.config.overrides import override
from moevae.config.schema import RunConfig
from moevae.data.augmentation import deform
from moevae.models.gate import gate_log_probs
from moevae.nn.gradients import FEATURES, histograms_of_gradients
from moevae.objectives.consistency import COPY_SHARE, ConsistencyLoss, Neighborhood, iic
from moevae.utils.rng import RunGenerators

RUNS, BATCH, SIDE, EXPERTS = 2, 40, 6, 4


def neighborhood(scale=1.0):
    random = torch.Generator().manual_seed(0)
    images = torch.rand(RUNS, BATCH, SIDE**2, generator=random)
    weight = (scale * torch.randn(RUNS, SIDE**2, EXPERTS, generator=random)).requires_grad_()
    others = images.roll(1, 1)  # the pairs have no symmetry

    def log_probs_of(x):
        return gate_log_probs((x @ weight).transpose(1, 2), torch.ones(RUNS))

    streams = (RunGenerators((1, 2), name) for name in ("directions", "jitters"))
    around = Neighborhood(
        log_probs_of,
        images,
        log_probs_of(images),
        torch.ones(RUNS, BATCH),
        (SIDE, SIDE),
        *streams,
        lambda: others,
        lambda: others,
    )
    return around, weight, log_probs_of(others)


def joint_information(log_probs, others):
    """-I of the symmetric joint distribution, as in the paper, [R]."""
    pairs = torch.einsum("rkb,rjb->rkj", log_probs.double().exp(), others.double().exp()) / BATCH
    joint = (pairs + pairs.transpose(1, 2)) / 2
    share = joint.sum(2)
    return -(joint * (joint / (share.unsqueeze(1) * share.unsqueeze(2))).log()).sum((1, 2))


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_the_mean_has_the_value_and_the_gradient_of_the_information(scale):
    around, weight, others = neighborhood(scale)
    expected = joint_information(around.log_probs, others)
    (slope,) = torch.autograd.grad(expected.sum(), weight, retain_graph=True)
    found = iic(around).mean(-1)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(found.sum(), weight)
    torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-5)


def test_a_one_hot_gate_has_the_information_of_its_assignments():
    around, _, others = neighborhood(scale=1e6)
    found = iic(around).mean(-1).detach()
    for run in range(RUNS):
        here, there = (each[run].argmax(0) for each in (around.log_probs, others))
        expected = mutual_info_score(torch.cat([here, there]), torch.cat([there, here]))
        assert float(found[run]) == pytest.approx(-expected, abs=1e-3)


def test_pairs_are_copies_and_neighbors_in_the_shares_that_are_given():
    seen = []
    ones = torch.ones(RUNS, 4000, 1)

    def log_probs_of(x):
        seen.append(x)
        return torch.full((RUNS, EXPERTS, 4000), 1 / EXPERTS).log()

    streams = (RunGenerators((1, 2), name) for name in ("directions", "jitters"))
    around = Neighborhood(
        log_probs_of,
        ones,
        log_probs_of(ones),
        ones[..., 0],
        (1, 1),
        *streams,
        lambda: 2 * ones,
        lambda: 3 * ones,
    )
    iic(around)
    shares = (seen[-1] == 3).float().mean((1, 2))
    torch.testing.assert_close(shares, torch.full((RUNS,), COPY_SHARE), rtol=0, atol=0.03)
    assert not torch.equal(seen[-1][0], seen[-1][1])


def test_a_gate_on_gradients_reads_those_of_deformed_copies():
    pixels = torch.rand(30, SIDE**2, generator=torch.Generator().manual_seed(8))
    changes = {"model.gate_input": "gradients", "objective.consistency": ["iic"]}
    runs = [override(RunConfig(seed=seed), changes) for seed in (1, 2)]
    loss_of = ConsistencyLoss(runs, pixels, (SIDE, SIDE), torch.device("cpu"))
    rows, seen = torch.stack([torch.arange(30), torch.arange(30).flip(0)]), []

    def log_probs_of(x):
        seen.append(x)
        return functional.log_softmax(x[..., :EXPERTS].transpose(1, 2), 1)

    def inputs_at(places):
        return torch.zeros(*places.shape, FEATURES)  # neighbors are recognized

    read = histograms_of_gradients(pixels, (SIDE, SIDE))[rows]
    loss_of(log_probs_of, inputs_at, read, log_probs_of(read), rows)
    streams = RunGenerators((1, 2), "jitter of the gate's neighbors")
    streams.uniform(30, 1)
    draws, waves = 2 * streams.uniform(30, 6) - 1, streams.normal(30, 2, 5, 5)
    copied = seen[-1].abs().sum(-1) > 0
    assert 0.4 < copied.float().mean() < 0.95
    for run in (0, 1):
        made = deform(pixels[rows[run]], draws[run], waves[run], (SIDE, SIDE))
        expected = histograms_of_gradients(made, (SIDE, SIDE))
        torch.testing.assert_close(seen[-1][run][copied[run]], expected[copied[run]])
