"""Samples of a run against the exact distribution of a tiny model, and their neighbors against sklearn."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from small import EVEN, config, each_bias, images, mixture, normal

from moevae.config.overrides import override
from moevae.data.binarization import target_images
from moevae.data.datasets import Images
from moevae.evaluation import sample_neighbors as module
from moevae.evaluation.sample_neighbors import binary_samples, nearest, sample_neighbors
from moevae.nn.stacked import Stacked

IWAE = {"evaluation.iwae_samples": 5}
PIXELS = {
    "independent": {},
    "window": {"model.likelihood": "autoregressive"},
    "conv": {"model.likelihood": "autoregressive", "model.pixel_network": "conv"},
    "made": {"model.likelihood": "autoregressive", "model.pixel_network": "made"},
}


def binary(count, pixels=30, seed=0):
    return (normal(count, pixels, seed=seed) > 0).float()


def test_neighbors_are_those_of_brute_force(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 70)
    x, reference = binary(40, seed=1), binary(501, seed=2)
    apart, places = nearest(x, reference)
    expected = NearestNeighbors(n_neighbors=1, algorithm="brute", metric="hamming").fit(reference.numpy())
    share, _ = expected.kneighbors(x.numpy())
    np.testing.assert_allclose(apart, 30 * share[:, 0])
    assert torch.equal((x != reference[places]).sum(1), apart)


def test_of_equally_near_images_the_first_is_chosen(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 2)
    reference = torch.tensor([[0.0, 1, 1], [1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]])
    apart, places = nearest(torch.tensor([[1.0, 0, 0], [1, 1, 1], [0, 0, 0]]), reference)
    assert apart.tolist() == [0, 1, 0]
    assert places.tolist() == [1, 0, 3]


@pytest.mark.parametrize("changes", PIXELS.values(), ids=PIXELS)
def test_samples_follow_the_distribution_of_the_model(changes):
    """Four pixels: the probability of each of the 16 images is an integral over one latent."""
    sizes = {"model.num_experts": 2, "model.latent_dim": 1, "model.expert_prior": (3, 1)}
    own = config(EVEN | sizes | {"model.latent_prior": "mixture"}, **changes)
    model = mixture(own, (2, 2))
    with torch.no_grad():  # experts and pixels that differ more than those of a new model
        model.experts.latent_prior.unpadded("mean").add_(torch.tensor([-2.0, 2.0]).view(1, 2, 1, 1))
        if model.experts.context is not None:
            each_bias(model.experts.context, torch.Tensor.zero_)
            for layer in model.experts.context.modules():
                if isinstance(layer, Stacked):
                    layer.unpadded("weight").mul_(3)
    line = torch.linspace(-12, 12, 801, dtype=torch.float64)
    z = line.view(1, 1, -1, 1).expand(1, 2, -1, 1)
    density = model.experts.learned_prior().log_prob(z)[0]  # [K, grid]
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)
    log_p = torch.stack([model.experts.recon_log_prob(z, x[None, None])[0] for x in every])  # [16, K, grid]
    exact = torch.trapezoid((log_p + density).exp(), line).detach()  # [16, K]
    torch.testing.assert_close(exact.sum(0), torch.ones(2, dtype=torch.float64))
    drawn, experts = binary_samples(model, own, 20_000)
    found = torch.zeros(16, 2, dtype=torch.float64)
    which = (drawn @ torch.tensor([8.0, 4, 2, 1])).long()
    found.index_put_((which, experts), torch.ones(len(drawn), dtype=torch.float64) / len(drawn), True)
    torch.testing.assert_close(found, exact * torch.tensor([0.75, 0.25]), atol=0.015, rtol=0)


@pytest.mark.parametrize("changes", [*PIXELS.values(), {"model.latent_prior": "hierarchical"}])
def test_samples_depend_on_the_seed_alone(changes):
    runs = [config(EVEN | changes, seed=seed) for seed in (3, 4)]
    together = mixture(runs[0], seeds=(3, 4)).float()
    drawn, experts = binary_samples(together.select_run(1), runs[1], 30)
    alone = binary_samples(mixture(runs[1], seeds=(3, 4)).float().select_run(1), runs[1], 30)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(drawn, alone[0])
    assert torch.equal(experts, alone[1])
    assert not torch.equal(drawn, binary_samples(together.select_run(0), runs[0], 30)[0])
    assert len(experts.unique()) > 1


class Copies:
    """Experts whose mean is a training image, which one latent chooses: a model that memorizes."""

    def __init__(self, kept):
        self.kept = kept

    def mean(self, z, alone=False, uniform=None):
        return self.kept[(z[..., 0].abs() * 1e4).long() % len(self.kept)]


def black_and_white(test=60):
    drawn = [binary(count, seed=count) for count in (64, 8, test)]
    return Images("pixels", "0" * 64, 5, 6, *drawn)


def test_a_memorizing_model_is_exposed(monkeypatch):
    """Images of black and white are binarized to themselves, so that copies have the distance zero."""
    own, data = config(EVEN | IWAE), black_and_white()
    model = mixture(own).float()
    honest = sample_neighbors(model, own, data).metrics()
    monkeypatch.setattr(model.experts, "mean", Copies(data.train).mean)
    found = sample_neighbors(model, own, data)
    assert torch.equal(found.samples, found.neighbors)
    assert len(found.samples.unique(dim=0)) > 20
    copied = found.metrics()
    assert copied["sample_distance"] == copied["sample_distance_lowest"] == 0
    assert honest["sample_distance_lowest"] > 0
    for name in ("test_distance", "test_distance_lowest"):
        assert copied[name] == honest[name] > 0


def test_distances_are_those_of_images_as_the_likelihood_sees_them():
    own, data = config(EVEN | IWAE), images(train=300, test=120)
    found = sample_neighbors(mixture(own).float(), own, data)
    assert len(found.samples) == len(found.test) == module.NUM_SAMPLES
    assert torch.equal(found.test, target_images(data.test, own.data, "test")[: module.NUM_SAMPLES])
    train = target_images(data.train, own.data, "train").numpy()
    oracle = NearestNeighbors(n_neighbors=1, metric="euclidean").fit(train)
    for which, name in ((found.samples, "sample"), (found.test, "test")):
        squared = oracle.kneighbors(which.numpy())[0][:, 0] ** 2
        assert found.metrics()[f"{name}_distance"] == pytest.approx(np.median(squared))
        assert found.metrics()[f"{name}_distance_lowest"] == pytest.approx(squared.min())
    assert torch.equal((found.samples != found.neighbors).sum(1), found.sample_distances)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        IWAE | {"data.binarization": "none"},
        IWAE | {"data.binarization": "none", "model.likelihood": "gaussian"},
    ],
)
def test_only_studies_of_binary_images_and_their_likelihood_are_compared(changes):
    own = override(config(EVEN), changes)
    assert sample_neighbors(mixture(own).float(), own, images()) is None
