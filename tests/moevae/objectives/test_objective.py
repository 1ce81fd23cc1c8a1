"""The objective family: what its members are, and where gradients go."""

import math

import numpy as np
import plain
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import HEIGHT, ODD, WIDTH, config, mixture, normal
from torch import nn

from moevae.config.objectives import member
from moevae.config.overrides import override
from moevae.config.presets import zeldes2019
from moevae.config.registry import BALANCINGS, BIAS_UPDATES, ROUTINGS
from moevae.models.mixture import Mixture, MixtureTerms
from moevae.nn.linear import StackedLinear
from moevae.objectives.bounds import mixture_elbo, posterior_log_probs
from moevae.objectives.load_balancing import kl_to_prior, log_priors
from moevae.objectives.objective import Objective, mutual_information

PIXELS = HEIGHT * WIDTH
BATCH = 12


def objective(configs):
    """J whose weights are float64, as the models of these tests are."""
    found = Objective(configs)
    found.information_weight = found.information_weight.double()
    found.balance_weight = found.balance_weight.double()
    found.log_prior = log_priors(configs)
    return found


def terms_of(model, run):
    """Terms of a batch of binary noise at the configured temperature."""
    runs, sizes = len(model.seeds), model.config
    x = (normal(runs, BATCH, PIXELS, seed=1) > 0).double()
    noise = normal(runs, sizes.num_experts, BATCH, sizes.latent_dim, seed=2)
    return model(x, noise, torch.full((runs,), run.routing.temperature, dtype=torch.float64))


@st.composite
def terms(draw):
    runs, experts, batch = draw(st.integers(1, 3)), draw(st.integers(1, 10)), draw(st.integers(1, 30))
    seed, sharpness = draw(st.integers(0, 10**6)), draw(st.floats(0, 100))
    log_probs = (sharpness * normal(runs, experts, batch, seed=seed)).log_softmax(1)
    recon, kl_z = 50 * normal(runs, experts, batch, seed=seed + 1), normal(runs, experts, batch).square()
    return MixtureTerms(log_probs, recon, kl_z)


@given(terms(), st.booleans())
def test_elbo_is_the_negative_mixture_elbo(batch, skewed):
    runs, experts, _ = batch.kl_z.shape
    shares = [tuple(range(run + 1, run + 1 + experts)) if skewed else () for run in range(runs)]
    sizes = {"model.num_experts": experts}
    configs = [config(sizes | {"model.expert_prior": prior}) for prior in shares]
    configs = [
        override(each, {"objective.information_weight": 1, "objective.balance_weight": 1}) for each in configs
    ]
    bound = mixture_elbo(batch.expert_elbo, batch.gate_log_probs, log_priors(configs)).mean(-1)
    torch.testing.assert_close(objective(configs)(batch), -bound, rtol=1e-9, atol=1e-9)


@given(terms())
def test_the_gates_divergence_from_any_prior_is_information_plus_imbalance(batch):
    log_probs = batch.gate_log_probs
    log_prior = normal(*log_probs.shape[:2], seed=3).log_softmax(-1)
    paid = (log_probs.exp() * (log_probs - log_prior.unsqueeze(-1))).sum(1).mean(-1)
    parts = mutual_information(log_probs) + kl_to_prior(log_probs, log_prior)
    torch.testing.assert_close(paid, parts, rtol=1e-9, atol=1e-9)


@given(terms())
def test_information_lies_between_zero_and_ln_k(batch):
    information = mutual_information(batch.gate_log_probs)
    assert (information >= -1e-9).all()
    assert (information <= math.log(batch.gate_log_probs.shape[1]) + 1e-9).all()


def test_information_of_gates_made_by_hand():
    certain = (1e4 * torch.eye(4, dtype=torch.float64)).log_softmax(0)
    same = normal(4, 1).log_softmax(0).expand(4, 4)
    assert mutual_information(torch.stack([certain, same])).tolist() == pytest.approx([math.log(4), 0])


def test_the_objective_is_linear_in_its_weights():
    free = [
        config(
            {
                "model.num_experts": 5,
                "objective.information_weight": alpha,
                "objective.balance_weight": balance,
                "model.expert_prior": (1, 1, 2, 3, 5),
            }
        )
        for alpha, balance in [(0, 0), (-0.7, 0), (0, 3), (-0.7, 3)]
    ]
    batch = MixtureTerms(normal(1, 5, 9).log_softmax(1), normal(1, 5, 9, seed=1), normal(1, 5, 9, seed=2))
    repeated = MixtureTerms(*(part.expand(4, -1, -1) for part in vars(batch).values()))
    bare, informed, balanced, both = objective(free)(repeated).tolist()
    q = batch.gate_log_probs.exp()
    assert bare == pytest.approx(-(q * batch.expert_elbo).sum(1).mean().item())
    assert informed - bare == pytest.approx(-0.7 * mutual_information(batch.gate_log_probs).item(), rel=1e-6)
    assert balanced - bare == pytest.approx(
        3 * kl_to_prior(batch.gate_log_probs, log_priors(free[:1])).item(), rel=1e-6
    )
    assert both - balanced == pytest.approx(informed - bare)


def test_hard_routing_costs_the_chosen_expert():
    run = config({"model.num_experts": 5, "objective.balance_weight": 0.0, "routing.kind": "hard"})
    batch = MixtureTerms(normal(2, 5, 9).log_softmax(1), normal(2, 5, 9, seed=1), normal(2, 5, 9, seed=2))
    chosen = batch.expert_elbo.gather(1, batch.gate_log_probs.argmax(1, keepdim=True))
    torch.testing.assert_close(objective([run, run])(batch), -chosen.mean((1, 2)))


def posterior_case(**changes):
    prior = {"model.expert_prior": (1, 1, 2, 3, 5), "model.num_experts": 5}
    run = override(config(prior | changes), {"objective": "marginal"})
    leaves = [normal(1, 5, 9, seed=seed).requires_grad_() for seed in range(3)]
    return run, leaves, MixtureTerms(leaves[0].log_softmax(1), *leaves[1:])


def test_the_marginal_loss_is_the_bound_and_the_divergence_of_the_gate():
    run, (_, recon, kl_z), batch = posterior_case()
    assert (member(run.objective), run.model.expert_prior[0]) == ("marginal", pytest.approx(1 / 12))
    loss = objective([run])(batch)
    joint = (recon - kl_z)[0] + torch.tensor([1, 1, 2, 3, 5]).double().div(12).log()[:, None]
    r = joint.softmax(0)
    kl = (r * (r.log() - batch.gate_log_probs[0])).sum(0)
    torch.testing.assert_close(loss[0], (kl - joint.logsumexp(0)).mean(), rtol=1e-6, atol=1e-6)


def test_tight_trains_experts_by_the_posterior_and_the_gate_towards_it():
    run, (logits, recon, kl_z), batch = posterior_case()
    objective([run])(batch).sum().backward()
    r = posterior_log_probs((recon - kl_z).detach(), log_priors([run])).exp()
    torch.testing.assert_close(recon.grad, -r / 9)
    torch.testing.assert_close(kl_z.grad, r / 9)
    torch.testing.assert_close(logits.grad, (batch.gate_log_probs.exp() - r) / 9)


def test_one_expert_is_a_plain_vae():
    run = config(ODD | {"model.num_experts": 1, "routing.temperature": 0.3})
    model = mixture(run)
    loss = objective([run])(terms_of(model, run)).sum()
    loss.backward()

    vae = plain.expert(model, 0, 0)
    recon_log_prob, kl_z = vae.terms((normal(BATCH, PIXELS, seed=1) > 0).double(), normal(BATCH, 3, seed=2))
    textbook = (kl_z - recon_log_prob).mean()
    textbook.backward()
    assert loss.item() == pytest.approx(textbook.item(), rel=1e-12)
    encoder, decoder = model.experts.encoder, model.experts.decoder
    stacked = [encoder.first, *encoder.rest.layers, *decoder.layers]
    linears = [
        layer for network in (vae.encoder, vae.decoder) for layer in network if isinstance(layer, nn.Linear)
    ]
    assert len(stacked) == len(linears) == 6
    for ours, theirs in zip(stacked, linears, strict=True):
        size = theirs.weight.numel()
        torch.testing.assert_close(
            ours._weight.grad[0, :size].view(-1, len(theirs.bias)), theirs.weight.grad.T
        )
        torch.testing.assert_close(ours._bias.grad[0, : len(theirs.bias)], theirs.bias.grad)
    assert all(not weight.grad.any() for weight in model.gate.network.parameters())


@pytest.mark.parametrize("kind", sorted(ROUTINGS))
@pytest.mark.parametrize("balancing", sorted(BALANCINGS.keys() | BIAS_UPDATES.keys()))
def test_the_order_of_experts_does_not_matter(kind, balancing):
    run = config(
        ODD
        | {
            "routing.kind": kind,
            "objective.balancing": balancing,
            "objective.information_weight": 0.5,
            "objective.balance_weight": 2.0,
        }
    )
    model, renamed = mixture(run, seeds=(0, 1)), mixture(run, seeds=(0, 1))
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    _rename(renamed, order)
    x = (normal(2, BATCH, PIXELS, seed=1) > 0).double()
    noise, heat = normal(2, 7, BATCH, 3, seed=2), torch.tensor([0.5, 2.0], dtype=torch.float64)
    before, after = model(x, noise, heat), renamed(x, noise[:, order], heat)
    for name, value in vars(before).items():
        torch.testing.assert_close(getattr(after, name), value[:, order])
    uniform = torch.rand(2, 7, BATCH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses = objective([run, run])(before, uniform)
    torch.testing.assert_close(objective([run, run])(after, uniform[:, order]), losses)


@torch.no_grad()
def _rename(model: Mixture, order: torch.Tensor) -> None:
    """Make expert order[k] the one at place k."""
    encoder, last = model.experts.encoder, model.gate.network.layers[-1]
    own = torch.arange(encoder.experts * encoder.width).view(encoder.experts, encoder.width)[order].flatten()
    for layer, columns in ((encoder.first, own), (last, order)):
        layer.weight.copy_(layer.weight[..., columns].clone())
        layer.bias.copy_(layer.bias[..., columns].clone())
    for layer in (*encoder.rest.layers, *model.experts.decoder.layers):
        layer.weight.copy_(layer.weight[:, order].clone())
        layer.bias.copy_(layer.bias[:, order].clone())


def test_unchosen_experts_get_exactly_no_gradient():
    run = config({"routing.kind": "hard", "objective.balance_weight": 5.0}, objective="elbo")
    model = mixture(run, seeds=(0, 1))
    last = model.gate.network.layers[-1]
    with torch.no_grad():
        last.bias.copy_(torch.tensor([[0.0, 50.0, 0.0, 0.0], [0.0, 0.0, 0.0, 50.0]]))
    objective([run, run])(terms_of(model, run)).sum().backward()
    for layer in model.experts.decoder.layers:
        received = layer._weight.grad.view(2, 4, -1).abs().sum(-1)
        assert (received > 0).tolist() == [[False, True, False, False], [False, False, False, True]]
    received = model.experts.encoder.first._bias.grad.view(2, 4, -1).abs().sum(-1)
    assert (received > 0).tolist() == [[False, True, False, False], [False, False, False, True]]


@pytest.mark.parametrize("name", ["elbo", "competitive", "marginal"])
def test_every_parameter_gets_a_gradient_from_its_own_run(name):
    run = config({"model.activation": "tanh"}, objective=name)
    model = mixture(run, seeds=(0, 1))
    loss = objective([run, run])(terms_of(model, run))
    loss[1].backward()
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, StackedLinear)]
    assert {name.partition(".")[0] for name, _ in layers} == {"gate", "experts"}
    for name, layer in layers:
        for value, stored in ((layer.weight, layer._weight), (layer.bias, layer._bias)):
            assert not stored.grad[0].any(), name
            assert stored.grad[1, : value[1].numel()].all(), name


def test_the_2019_loss_is_that_of_the_article():
    """The article's formula in float64 numpy, from the weights up: no log-probabilities, no distributions."""
    run = zeldes2019()
    model = mixture(run, size=(28, 28))
    x, noise = normal(1, 100, 784).sigmoid(), normal(1, 10, 100, 10, seed=1)
    found = objective([run])(model(x, noise, torch.ones(1, dtype=torch.float64))).item()

    images = x[0].numpy()
    manager = _forward(plain.gate(model, 0), images)
    p = np.exp(manager) / np.exp(manager).sum(1, keepdims=True)  # [B, K]
    total = np.zeros(100)
    for k in range(10):
        vae = plain.expert(model, 0, k)
        output = _forward(vae.encoder, images)
        mean, variance = output[:, :10], 1e-5 + np.exp(output[:, 10:])
        z = mean + np.sqrt(variance) * noise[0, k].numpy()
        decoded = 1 / (1 + np.exp(-_forward(vae.decoder, z)))
        squares = ((images - decoded) ** 2).sum(1) / (2 * 0.5**2)
        reconstruction = squares + 784 * math.log(0.5 * math.sqrt(2 * math.pi))
        kl = (mean**2 + variance - 1 - np.log(variance)).sum(1) / 2
        total += p[:, k] * (reconstruction + kl)
    assert found == pytest.approx(total.mean() + 0.1 * np.var(p.sum(0)), rel=1e-7)
    cv = p.mean(0).std() / p.mean()
    assert 0.1 * np.var(p.sum(0)) == pytest.approx(10 * cv**2)


def _forward(network, x):
    for layer in network:
        if isinstance(layer, nn.Linear):
            x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        else:
            assert isinstance(layer, nn.Sigmoid)
            x = 1 / (1 + np.exp(-x))
    return x


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_without_expert_gradient_the_gate_learns_from_the_other_terms(kind):
    run = config({"routing.kind": kind, "objective.expert_gradient": 0, "objective.balance_weight": 0})
    model = mixture(run)
    objective([run])(terms_of(model, run)).sum().backward()
    assert all((each.grad is None) or (each.grad == 0).all() for each in model.gate.parameters())
    assert all((each.grad != 0).any() for each in model.experts.parameters())
    balanced = override(run, {"objective.balance_weight": 1})
    objective([balanced])(terms_of(model, balanced)).sum().backward()
    assert any(each.grad is not None and each.grad.any() for each in model.gate.parameters())


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_gate_gets_its_share_of_the_gradient_of_the_experts(kind):
    own = {"routing.kind": kind, "objective.balance_weight": 0}
    runs = [config(own | {"objective.expert_gradient": share}) for share in (1, 0.25, 0)]
    gate, experts = [], []
    for run in runs:
        model = mixture(run)
        loss = objective([run])(terms_of(model, run)).sum()
        loss.backward()
        gate.append(
            torch.cat(
                [
                    torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
                    for p in model.gate.parameters()
                ]
            )
        )
        experts.append(torch.cat([p.grad.flatten() for p in model.experts.parameters()]))
    assert gate[0].abs().max() > 0
    torch.testing.assert_close(gate[1], 0.25 * gate[0])
    assert not gate[2].any()
    assert torch.equal(experts[0], experts[1])
    assert torch.equal(experts[0], experts[2])
