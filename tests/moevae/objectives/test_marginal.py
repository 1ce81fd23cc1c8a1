"""The bound with the expert index marginalized, and the gate's gap, against closed forms and brute force."""

import numpy as np
import plain
import pytest
import torch
from linear import Double, Linear
from scipy.special import logsumexp
from scipy.stats import entropy
from small import EVEN, ODD, config, images, mixture, normal
from torch import distributions

from moevae.data.binarization import target_images
from moevae.evaluation import evaluate as evaluation
from moevae.evaluation import marginal
from moevae.evaluation.evaluate import evaluate
from moevae.evaluation.log_weights import BLOCK
from moevae.evaluation.marginal import MARGINAL_SAMPLES, marginal_bound, marginal_samples
from moevae.models.mixture import Mixture
from moevae.objectives.bounds import marginal_elbo

LEAN = 0.05
"""Nats that the estimate may lie off on average."""


class Gaussian:
    """Experts whose log p(x, z) / q(z|x) is ELBO_k plus normal noise of known deviation; x counts images."""

    def __init__(self, elbo, std):
        self.elbo, self.std = elbo, std  # [K, B]

    def encode_rows(self, x, dispatch):
        image = dispatch.images(x)[:, 0].long()
        counts = torch.tensor(dispatch.ends).diff(prepend=torch.zeros(1)).long()
        self.own = self.elbo[torch.arange(len(self.elbo)).repeat_interleave(counts), image]
        zeros = torch.zeros(len(image), 1, dtype=torch.float64)
        return zeros, zeros

    def learned_prior(self):
        return None

    def context_rows(self, x, dispatch):
        return None

    def recon_log_prob_rows(self, z, x, dispatch, context):
        return self.own.unsqueeze(-1) + self.std * z.squeeze(-1)


def estimates(experts, x, log_probs, log_prior, seeds, samples=MARGINAL_SAMPLES):
    """Bounds and gaps of independent repetitions, [seeds, B] each."""
    found = [
        marginal_bound(experts, x, log_probs, log_prior, Double([seed], "test"), samples, room=20_000)
        for seed in range(seeds)
    ]
    return tuple(torch.stack([getattr(each, name) for each in found]).numpy() for name in ("bound", "gap"))


def error(values):
    """Standard error of the mean over independent repetitions of a split's mean, [seeds, B]."""
    return values.mean(1).std(ddof=1) / len(values) ** 0.5


def one_sample(experts, x, log_prior, seed):
    """log sum_k pi_k exp(noisy ELBO_k) with one z: analytic KL(q || p), and one reconstruction, [B]."""
    noisy = []
    for k in range(len(log_prior)):
        mu, logvar = experts.encode(x, torch.full((len(x),), k))
        z = mu + (0.5 * logvar).exp() * normal(*mu.shape, seed=1000 * seed + k)
        mean = z @ experts.weight[k] + experts.bias[k, 0]
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(-1)
        noisy.append(distributions.Normal(mean, 0.8).log_prob(x).sum(-1) - kl)
    return marginal_elbo(torch.stack(noisy)[None], log_prior)[0]


def alike():
    """Ten equal experts: the marginal bound is the ELBO of any; one sample of each lies above log p(x)."""
    experts = Linear(10, 6, 12, off=0.05, alike=True)
    z = normal(BLOCK, 6, seed=3)
    x = z @ experts.weight[0] + experts.bias[0] + 0.8 * normal(BLOCK, 12, seed=4)
    return experts, x, torch.full((10,), 0.1, dtype=torch.float64).log()


def test_ten_identical_experts_do_not_lie_above_the_likelihood():
    experts, x, log_prior = alike()
    log_prob = experts.log_prob(x, log_prior).mean().item()
    naive = torch.stack([one_sample(experts, x, log_prior, seed) for seed in range(5)]).mean().item()
    assert naive > log_prob + 0.3
    bounds, gaps = estimates(experts, x, log_prior[:, None].expand(-1, BLOCK), log_prior, seeds=12)
    assert bounds.mean() < log_prob + 3 * error(bounds)
    assert bounds.mean() == pytest.approx(experts.expert_elbo(x)[0].mean().item(), abs=LEAN)
    assert gaps.mean() == pytest.approx(
        0, abs=LEAN
    )  # the gate answers with the prior, which is the posterior


@pytest.mark.parametrize("confidence", [0.0, 1.0, 6.0])
def test_bound_and_gap_are_those_of_the_closed_form(confidence):
    experts = Linear(3, 2, 5)
    log_prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    x = 1.5 * normal(BLOCK, 5, seed=3)
    log_probs = (confidence * normal(3, BLOCK, seed=4)).log_softmax(0)
    exact = (experts.expert_elbo(x) + log_prior[:, None]).numpy()  # [K, B]
    bounds, gaps = estimates(experts, x, log_probs, log_prior, seeds=12)
    assert bounds.mean() == pytest.approx(logsumexp(exact, axis=0).mean(), abs=LEAN)
    posterior = np.exp(exact - logsumexp(exact, axis=0))
    assert gaps.mean() == pytest.approx(entropy(log_probs.exp().numpy(), posterior).mean(), abs=LEAN)
    assert bounds.mean() <= experts.log_prob(x, log_prior).mean() + 3 * error(bounds)
    assert (gaps.mean(1) > -LEAN).all()


@pytest.mark.parametrize("std", [0.5, 2.0, 6.0])
@pytest.mark.parametrize("apart", [0.0, 2.0, 20.0])
@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_the_bias_of_known_noise_is_removed(std, apart, confidence):
    elbo = apart * normal(6, BLOCK, seed=8)
    log_prior = torch.tensor([9.0, 1, 1, 1, 1, 1], dtype=torch.float64).div(14).log()
    places = torch.arange(BLOCK, dtype=torch.float64)[:, None]
    log_q = (confidence * elbo).log_softmax(0)
    exact = (elbo + log_prior[:, None]).numpy()
    bounds, gaps = estimates(Gaussian(elbo, std), places, log_q, log_prior, seeds=16)
    assert bounds.mean() == pytest.approx(logsumexp(exact, axis=0).mean(), abs=LEAN + 3 * error(bounds))
    posterior = np.exp(exact - logsumexp(exact, axis=0))
    gap = entropy(log_q.exp().numpy(), np.maximum(posterior, 1e-300)).mean()
    assert gaps.mean() == pytest.approx(gap, abs=LEAN + 3 * error(gaps))


def test_brute_force_finds_the_same_bound():
    """A mixture as it is trained, expert by expert in plain torch, with 3,000 samples."""
    run = config(ODD | {"model.expert_prior": (1, 2, 3, 4, 5, 6, 7)})
    model, data = mixture(run).float(), images(test=60)
    (found,) = evaluate(model, [run], data)
    x = target_images(data.test, run.data, "test").double()
    joint = []
    for k, share in enumerate(np.arange(1, 8) / 28):
        vae = plain.expert(model.double(), 0, k)
        mu, logvar = vae.encoder(x).chunk(2, -1)
        z = mu + (0.5 * logvar).exp() * normal(3000, *mu.shape, seed=k)
        recon = distributions.Bernoulli(logits=vae.decoder(z)).log_prob(x).sum(-1).mean(0)
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(-1)
        joint.append((recon - kl).detach().numpy() + np.log(share))
    marginal = logsumexp(joint, axis=0)
    posterior = np.exp(joint - marginal)
    assert found.metrics["marginal_elbo"] == pytest.approx(marginal.mean(), abs=LEAN)
    assert found.metrics["gate_gap"] == pytest.approx(entropy(found.gate_probs, posterior).mean(), abs=LEAN)


def test_the_number_of_samples_is_reported_and_grows_with_the_one_that_is_set():
    assert marginal_samples(config()) == MARGINAL_SAMPLES
    run = config({"evaluation.num_samples": 50})
    (found,) = evaluate(mixture(run).float(), [run], images())
    assert found.metrics["marginal_samples"] == marginal_samples(run) == 50


def test_negligible_experts_cost_few_samples():
    elbo = torch.zeros(4, BLOCK, dtype=torch.float64)
    elbo[1:3] = -500
    decoded = []

    class Counted(Gaussian):
        def recon_log_prob_rows(self, z, x, dispatch, context):
            decoded.append(z.shape[0] * z.shape[1])
            return super().recon_log_prob_rows(z, x, dispatch, context)

    places = torch.arange(BLOCK, dtype=torch.float64)[:, None]
    even = torch.full((4,), 0.25, dtype=torch.float64).log()
    marginal_bound(Counted(elbo, 1.0), places, elbo, even, Double([0], "test"), 100, room=10_000)
    assert sum(decoded) == BLOCK * (4 * marginal.PILOT_SAMPLES + 2 * marginal.PILOT_SAMPLES + 2 * 100)
    assert max(decoded) <= 10_000


def test_a_gate_that_closes_experts_has_a_finite_gap():
    run, data = config(EVEN), images()
    model = mixture(run).float()
    own = torch.arange(70).remainder(4)[None]
    asked, given = evaluate(model, [run], data)[0], evaluate(model, [run], data, assignments=own)[0]
    assert given.metrics["marginal_elbo"] == asked.metrics["marginal_elbo"]
    assert np.isfinite(given.metrics["gate_gap"])


@pytest.mark.parametrize("count", [40, BLOCK + 20])
def test_many_samples_of_a_forward_pass_are_taken_in_turn_with_the_same_numbers(count, monkeypatch):
    run = config(ODD | {"evaluation.num_samples": 70})
    model, data = mixture(run).float(), images(test=count)
    in_turn = evaluate(model, [run], data, importance=False)[0].metrics
    monkeypatch.setattr(evaluation, "SAMPLE_CHUNK", 70)
    together = evaluate(model, [run], data, importance=False)[0].metrics
    assert in_turn == pytest.approx(together, rel=1e-6)


def test_other_runs_change_no_bit_of_the_marginal_bound():
    configs = [config(ODD, seed=seed) for seed in (0, 1, 2)]
    model, data = mixture(configs[0], seeds=(0, 1, 2)).float(), images(test=BLOCK + 16)
    together = evaluate(model, configs, data)
    for index, own in enumerate(configs):
        alone = Mixture(own.model, model.size, (own.seed,))
        alone.load_state_dict({name: value[index : index + 1] for name, value in model.state_dict().items()})
        assert evaluate(alone, [own], data)[0].metrics == together[index].metrics


def test_evaluation_without_importance_omits_marginal_bounds():
    run = config()
    (found,) = evaluate(mixture(run).float(), [run], images(), importance=False)
    assert not {"marginal_elbo", "gate_gap", "marginal_samples"} & set(found.metrics)
