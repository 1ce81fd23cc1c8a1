"""Expert VAEs: encoders, decoders and likelihoods."""

import math

import plain
import pytest
import torch
from small import HEIGHT, ODD, WIDTH, config, each_bias, mixture, normal
from torch import distributions

from moevae.models.dispatch import Dispatch

PIXELS = HEIGHT * WIDTH


def experts(**changes):
    return mixture(config(ODD, **changes), seeds=(0, 1)).experts


def test_the_floor_is_added_to_the_variance():
    x = normal(2, 9, PIXELS)
    changes = {"model.variance_floor": 0.1}
    bare, floored = mixture(config(ODD), seeds=(0, 1)), mixture(config(ODD | changes), seeds=(0, 1))
    (mu, logvar), (same_mu, higher) = bare.experts.encode(x), floored.experts.encode(x)
    assert torch.equal(mu, same_mu)
    torch.testing.assert_close(higher.exp(), logvar.exp() + 0.1)


def test_a_floor_holds_where_the_variance_vanishes():
    floored = mixture(config({"model.variance_floor": 1e-5})).experts
    each_bias(floored, lambda bias: bias.fill_(-900))
    _, logvar = floored.encode(torch.zeros(1, 3, PIXELS, dtype=torch.float64))
    torch.testing.assert_close(logvar, torch.full_like(logvar, math.log(1e-5)))


def test_means_are_pixels():
    z = 100 * normal(2, 7, 9, 3)
    mean = experts().mean(z)
    assert mean.shape == (2, 7, 9, PIXELS)
    assert ((mean >= 0) & (mean <= 1)).all()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_likelihood_is_around_the_mean_image(likelihood):
    module = mixture(config(ODD | {"model.likelihood": likelihood, "model.gaussian_std": 0.3})).experts
    z, x = normal(1, 7, 9, 3), (normal(1, 9, PIXELS, seed=1) > 0).double()
    mean = module.mean(z)
    pixels = distributions.Bernoulli(mean) if likelihood == "bernoulli" else distributions.Normal(mean, 0.3)
    torch.testing.assert_close(module.recon_log_prob(z, x), pixels.log_prob(x[:, None]).sum(-1))


@pytest.mark.parametrize("hidden", [(), (8,), (9, 5)])
def test_the_decoder_mirrors_the_encoder(hidden):
    model = mixture(config({"model.expert_hidden": hidden, "model.latent_dim": 2}), size=(2, 3))
    vae = plain.expert(model, 0, 0)
    assert [tuple(weight.shape[::-1]) for weight in list(vae.encoder.parameters())[::2]] == [
        *zip((6, *hidden), (*hidden, 4), strict=True)
    ]
    assert [tuple(weight.shape[::-1]) for weight in list(vae.decoder.parameters())[::2]] == [
        *zip((2, *hidden[::-1]), (*hidden[::-1], 6), strict=True)
    ]


PRIORS = pytest.mark.parametrize("prior", ["normal", "mixture", "vamp", "hierarchical"])


@PRIORS
def test_experts_are_compared_at_the_mean_latent_with_their_own_prior(prior):
    module = experts(**{"model.latent_prior": prior})
    x = (normal(2, 4, PIXELS) > 0).double()
    mu, logvar = module.encode(x)
    own = distributions.Normal(mu, (0.5 * logvar).exp())
    kl_z = distributions.kl_divergence(own, distributions.Normal(0.0, 1.0)).sum(-1)
    if prior != "normal":
        kl_z = module.learned_prior().kl(mu, logvar)
    torch.testing.assert_close(module.scores(x), module.recon_log_prob(mu, x) - kl_z)


@PRIORS
@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_the_weight_of_the_divergence_is_the_same_where_few_experts_are_computed(prior, bound):
    module = experts(**{"model.latent_prior": prior})
    x, noise = (normal(2, 4, PIXELS) > 0).double(), normal(2, 7, 4 * 3, 3, seed=1)
    every = torch.arange(7).view(1, 7, 1).expand(2, 7, 4)
    with module.weighted_kl(0.3):
        dense, sparse = module.dense(x, noise, bound), module.sparse(x, noise, Dispatch.of(every, 7), bound)
    for one, other in zip(dense, sparse, strict=True):
        torch.testing.assert_close(one, other)


@PRIORS
@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_the_weight_of_the_divergence_leaves_the_reconstruction(prior, bound):
    module = experts(**{"model.latent_prior": prior})
    x, noise = (normal(2, 4, PIXELS) > 0).double(), normal(2, 7, 4 * 3, 3, seed=1)
    (recon, whole), bounds = module.dense(x, noise, bound), []
    for weight in (0.0, 0.5, 1.0):
        with module.weighted_kl(weight):
            same, kl_z = module.dense(x, noise, bound)
        assert torch.equal(same, recon)
        bounds.append(same - kl_z)
    torch.testing.assert_close(bounds[2], recon - whole)
    if bound == "elbo":  # linear in the weight, from the reconstruction on
        torch.testing.assert_close(bounds[0], recon)
        torch.testing.assert_close(bounds[1], (bounds[0] + bounds[2]) / 2)
    else:  # log mean exp of the weighted samples: of reconstructions alone at first
        mu, logvar = (each.unsqueeze(-2) for each in module.encode(x))
        z = mu + (0.5 * logvar).exp() * noise.unflatten(2, (4, 3))
        each = module.recon_log_prob(z.flatten(2, 3), x).unflatten(2, (4, 3))
        torch.testing.assert_close(bounds[0], each.logsumexp(-1) - math.log(3))
    torch.testing.assert_close(module.dense(x, noise, bound)[1], whole)
