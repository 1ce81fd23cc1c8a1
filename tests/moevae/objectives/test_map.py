"""Hard EM: the best expert alone trains on an image, and the gate is, or learns to predict, the posterior."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import EVEN, ODD, config, images, population, same, weights

from moevae.config.objectives import member
from moevae.config.overrides import override
from moevae.errors import ConfigError
from moevae.evaluation.assign import assign
from moevae.evaluation.evaluate import evaluate
from moevae.models.mixture import Mixture
from moevae.training.fit import fit
from moevae.training.trainer import Trainer
from moevae.visualization.samples import reconstructions

CPU = torch.device("cpu")
MAP = {"objective": "map", "data.binarization": "none"}
TEMPLATES = {
    "model.decoder": "deformable",
    "model.deformations": ("affine", "displacement", "thickness", "residual"),
    "model.encoder": "shared",
    "model.likelihood": "gaussian",
    "model.gaussian_std": "learned",
}
KINDS = pytest.mark.parametrize("kind", [{}, TEMPLATES], ids=["network", "deformable"])
GATES = pytest.mark.parametrize("gate", ["mlp", "posterior"])
PRIOR = (0.1, 0.2, 0.3, 0.4)


def trained(changes, epochs=1):
    """A trainer whose experts differ, and the batch that follows."""
    trainer = Trainer(
        [config(MAP | {"train.learning_rate": 0.01, "model.expert_prior": PRIOR} | changes)], images(), CPU
    )
    for _ in range(epochs):
        trainer.epoch()
    return trainer, next(trainer.batches.epoch())


def terms_of(trainer, batch):
    return trainer.loss.mixture_terms(trainer.model, trainer.objective, torch.ones(1), batch, None)


def scores(model: Mixture, x):
    """log pi_k + ELBO_k at the mean latent, [K, B], by the dense pass of training."""
    noise = torch.zeros(1, model.config.num_experts, x.shape[1], model.latent_size)
    recon, kl_z = model.experts.dense(x, noise)
    return ((recon - kl_z)[0] + torch.tensor(PRIOR).log()[:, None]).detach()


@KINDS
@GATES
def test_the_loss_is_that_of_the_best_expert(kind, gate):
    """Against the dense pass with the same noise, and a posterior in NumPy."""
    trainer, batch = trained(kind | {"model.gate_network": gate})
    model, x = trainer.model, batch.target
    state = trainer.loss.latent.state()
    terms = terms_of(trainer, batch)
    trainer.loss.latent.restore(state)
    noise = trainer.loss.latent.normal(1, x.shape[1], model.latent_size)
    joint = scores(model, x)
    best = joint.argmax(0)
    assert len(best.unique()) > 1
    assert torch.equal(terms.chosen[0, 0], best)
    recon, kl_z = model.experts.dense(x, noise.expand(1, 4, -1, -1))
    elbo = (recon - kl_z)[0].gather(0, best[None])[0]
    expected = -(elbo + torch.tensor(PRIOR)[best].log()).detach().double().numpy()
    if gate == "mlp":
        r = joint.double().softmax(0).numpy()
        q = model.gate(x)[0].double().softmax(0).detach().numpy()
        expected = expected + (r * (np.log(np.maximum(r, 1e-300)) - np.log(q))).sum(0)
    assert trainer.objective(terms).item() == pytest.approx(expected.mean(), rel=1e-4)


@KINDS
@pytest.mark.parametrize("factor", [0.0, 0.25, 1.0])
def test_experts_have_no_gradient_from_the_gate_and_the_gate_only_from_the_divergence(kind, factor):
    gradients = {}
    for name, changes in {
        "map": {"objective.expert_gradient": factor},
        "posterior gate": {"model.gate_network": "posterior"},
    }.items():
        trainer, batch = trained(kind | changes, epochs=0)
        terms = terms_of(trainer, batch)
        trainer.objective(terms).sum().backward()
        gradients[name] = {
            key: value.grad for key, value in trainer.model.named_parameters() if value.grad is not None
        }
        if name == "map":
            x = batch.target
            r = scores(trainer.model, x).softmax(0)
            logits = trainer.model.gate(x)
            q = logits.log_softmax(1)[0]
            by_hand = torch.autograd.grad(
                -(r * q).sum(0).mean() * factor, trainer.model.gate.network.parameters()
            )
    experts = {key for key in gradients["map"] if key.startswith("experts.")}
    assert experts == gradients["posterior gate"].keys()
    assert all(torch.equal(gradients["map"][key], gradients["posterior gate"][key]) for key in experts)
    gate = [value for key, value in gradients["map"].items() if key.startswith("gate.network.")]
    if factor == 0:
        assert not any(value.any() for value in gate)
    else:
        for found, expected in zip(gate, by_hand, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


@KINDS
@GATES
@pytest.mark.parametrize("sizes", [EVEN, ODD], ids=["even", "odd"])
def test_a_run_has_the_same_bits_alone_and_in_a_population(kind, gate, sizes):
    changes = MAP | kind | {"model.gate_network": gate, "train.extra_experts": 0}
    runs = [override(each, changes) for each in population(sizes)]
    together = fit(runs, images())
    for number, run in enumerate(runs):
        assert same(weights(together.model, number), weights(fit([run], images()).model, 0))


@KINDS
@GATES
def test_training_continues_bitwise(kind, gate):
    runs = [config(MAP | kind | {"model.gate_network": gate, "train.extra_experts": 2, "train.epochs": 3})]
    whole, first, second = fit(runs, images()), Trainer(runs, images(), CPU), Trainer(runs, images(), CPU)
    first.epoch()
    second.restore(*first.state())
    while not second.done:
        second.epoch()
    assert same(weights(second.model, 0), weights(whole.model, 0))


@KINDS
def test_an_expert_that_no_image_reaches_keeps_its_weights(kind):
    trainer, _ = trained(kind | {"model.gate_network": "posterior"})
    with torch.no_grad():
        trainer.model.gate.expert_bias[:, 2] = -1e6
        for moment in trainer.optimizer._moments.values():
            moment["exp_avg"].zero_()
    own = {
        f"{prefix}.{name}": module.selected(name, getattr(module, f"_{name}"), torch.tensor([[2]])).clone()
        for prefix, module in trainer.model.named_modules()
        for name in getattr(module, "shapes", ())
        if name in module.expert_parameters or module.concatenated_experts is not None
    }
    trainer.epoch()
    assert own
    for key, before in own.items():
        prefix, _, name = key.rpartition(".")
        module = trainer.model.get_submodule(prefix)
        assert torch.equal(module.selected(name, getattr(module, f"_{name}"), torch.tensor([[2]])), before)
    assert trainer.failures == [None]


def test_the_learned_deviation_is_moved_by_the_error_of_the_best_expert():
    trainer, batch = trained(TEMPLATES | {"model.gate_network": "posterior"})
    state, before = trainer.loss.latent.state(), trainer.model.experts.log_std.exp().item()
    terms = terms_of(trainer, batch)
    trainer.loss.latent.restore(state)
    pixels = batch.target.shape[-1]
    recon = terms.recon_log_prob.mean().item()
    error = -2 * before**2 * (recon / pixels + math.log(before) + 0.5 * math.log(2 * math.pi))
    trainer.step(3, batch)
    expected = 0.98 * before**2 + 0.02 * error
    assert trainer.model.experts.log_std.exp().item() ** 2 == pytest.approx(expected, rel=1e-4)


@KINDS
@pytest.mark.parametrize("binarization", ["none", "static"])
def test_all_answers_of_a_posterior_gate_agree(kind, binarization):
    run = config(
        MAP
        | kind
        | {"model.gate_network": "posterior", "data.binarization": binarization, "train.epochs": 4}
        | {"evaluation.num_samples": 200}
    )
    data = images()
    found = fit([run], data)
    (measured,) = evaluate(found.model, [run], data)
    metrics = measured.metrics
    assert metrics["mixture_elbo"] <= metrics["marginal_elbo"] + 0.05
    assert metrics["gate_gap"] < 1
    if binarization == "none":
        model, x = found.model, data.test
        answers = assign(model, run, x)
        assert np.array_equal(answers.experts, measured.assignments)
        np.testing.assert_allclose(answers.gate_probs.T, measured.gate_probs, atol=1e-4)
        assert np.array_equal(
            assign(model, run, x, bounds=False, latents=False).experts, measured.assignments
        )
        drawn = model.experts.mean(model.experts.encode(x[None])[0])[0]
        by_gate = drawn[torch.from_numpy(measured.assignments), torch.arange(len(x))]
        torch.testing.assert_close(reconstructions(model, x, x)[0], by_gate, atol=1e-4, rtol=0)


def test_bounds_of_the_experts_do_not_depend_on_the_kind_of_gate():
    run = config(MAP | {"train.epochs": 1})
    found = fit([run], images())
    other = replace(run, model=replace(run.model, gate_network="posterior"))
    model = Mixture(other.model, found.model.size, [0])
    model.load_state_dict(
        {key: value for key, value in found.model.state_dict().items() if not key.startswith("gate.network")}
    )
    one, two = (
        evaluate(each, [each_run], images())[0] for each, each_run in ((found.model, run), (model, other))
    )
    assert one.metrics["marginal_elbo"] == two.metrics["marginal_elbo"]
    assert two.metrics["mixture_elbo"] > one.metrics["mixture_elbo"]
    assert two.metrics["gate_gap"] < one.metrics["gate_gap"]


@pytest.mark.parametrize("routing", ["soft", "hard", "gumbel", "sampled", "top-k"])
def test_a_posterior_gate_goes_with_every_routing(routing):
    run = config({"model.gate_network": "posterior", "routing.kind": routing})
    found = fit([run], images())
    assert found.failures == [None]
    assert found.model.gate.network is None


def test_contradictory_settings_are_refused():
    assert member(config(MAP).objective) == "map"
    with pytest.raises(ConfigError, match=r"objective\.expert_weights = map.*soft"):
        config({"objective.expert_weights": "map", "routing.kind": "sampled"})
    for changes in (
        {"model.gate_input": "grayscale"},
        {"model.gate_normalization": "batch"},
        {"objective.consistency": ["vat"]},
        {"routing.temperature_schedule": "learned"},
    ):
        with pytest.raises(ConfigError, match=r"^model\.gate_network = posterior [^\n]* expected "):
            config({"model.gate_network": "posterior"} | changes)


@pytest.mark.parametrize("std", ["learned", 0.3])
@torch.no_grad()
def test_scores_are_those_of_all_experts_at_once(std):
    """Deformable experts are scored one at a time, which bounds the memory, with the same bits."""
    changes = MAP | TEMPLATES | {"model.gaussian_std": std}
    experts = Mixture(config(changes).model, images().size, (0, 1)).experts
    stream = torch.Generator().manual_seed(0)
    for weight in experts.parameters():
        weight.add_(0.1 * torch.randn(weight.shape, generator=stream))
    if std == "learned":
        experts.log_std.copy_(torch.tensor([-1.0, -2.0]))
    x = torch.rand(2, 7, math.prod(images().size), generator=stream)
    mu, logvar = experts.encode(x)
    kl_z = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(-1)
    assert torch.equal(experts.scores(x), experts.recon_log_prob(mu, x) - kl_z)
