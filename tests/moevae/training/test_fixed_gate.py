"""Experts trained and measured with assignments that are given: as for baselines."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import EVEN, config, images, mixture, same, weights

from moevae.errors import ConfigError
from moevae.evaluation.evaluate import evaluate
from moevae.models.mixture import Mixture
from moevae.training.fit import fit

K = EVEN["model.num_experts"]


def assigned(count, runs=1):
    return torch.arange(count).remainder(K).expand(runs, count)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_gate_stays_as_it_was_drawn(kind):
    run, data = config({"routing.kind": kind, "objective.information_weight": 1.0}), images()
    begun = weights(Mixture(run.model, data.size, (run.seed,)), 0)
    ended = weights(fit([run], data, assignments=assigned(96)).model, 0)
    assert all(torch.equal(begun[name], ended[name]) == name.startswith("gate.") for name in begun)


def test_an_expert_learns_from_its_own_images_alone():
    run, data, own = config(), images(), assigned(96)
    other = replace(data, train=torch.where(own[0][:, None] == 1, data.train, 1 - data.train))
    models = [fit([run], each, assignments=own).model for each in (data, other)]
    x, z = data.test[None], torch.zeros(1, K, len(data.test), run.model.latent_dim)
    first, second = (model.experts.recon_log_prob(z, x)[0] for model in models)
    torch.testing.assert_close(first[1], second[1])
    assert not any(torch.allclose(first[k], second[k]) for k in (0, 2, 3))


def test_other_runs_change_no_bit():
    runs, data = [config(seed=seed) for seed in (0, 1)], images()
    given = torch.stack([assigned(96)[0], assigned(96)[0].flip(0)])
    together = fit(runs, data, assignments=given).model
    for run in (0, 1):
        alone = fit(runs[run : run + 1], data, assignments=given[run : run + 1]).model
        assert same(weights(alone, 0), weights(together, run))


def test_the_bounds_are_those_of_a_one_hot_gate():
    run, data = config(), images()
    model = fit([run], data).model
    asked = evaluate(model, [run], data)[0]
    likeliest = evaluate(model, [run], data, assignments=torch.from_numpy(asked.assignments)[None])[0]
    assert likeliest.metrics["mixture_elbo"] == pytest.approx(asked.metrics["map_elbo"])
    assert likeliest.metrics["marginal_elbo"] == asked.metrics["marginal_elbo"]
    assert likeliest.metrics["kl_gate"] == pytest.approx(math.log(K))
    np.testing.assert_allclose(likeliest.importance, likeliest.load, rtol=1e-6)


def test_no_other_assignment_has_a_better_bound_than_the_responsible_experts():
    run, data = config(), images()
    model = fit([run], data).model
    best = torch.from_numpy(evaluate(model, [run], data)[0].posterior_assignments)[None]
    bounds = [
        evaluate(model, [run], data, assignments=given)[0].metrics["mixture_elbo"]
        for given in (best, (best + 1) % K, assigned(70))
    ]
    assert bounds[0] > max(bounds[1:])


@pytest.mark.parametrize("chunk", [1, 1024])
def test_the_chunk_decides_no_number(chunk):
    run, data = config(), images(test=300)
    model, given = fit([run], data).model, assigned(300)
    expected = evaluate(model, [run], data, assignments=given, chunk=200)[0]
    found = evaluate(model, [run], data, assignments=given, chunk=chunk)[0]
    assert found.metrics == expected.metrics


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (assigned(95), r"assignments \[R, N\] have shape \(1, 95\); expected \(1, 96\)"),
        (assigned(96) + 1, r"outside 0\.\.3"),
    ],
)
def test_assignments_that_do_not_fit_are_refused(given, reason):
    with pytest.raises(ValueError, match=reason):
        fit([config()], images(), assignments=given)
    with pytest.raises(ValueError, match=reason):
        evaluate(mixture(config()), [config()], images(), "train", assignments=given)


@pytest.mark.parametrize("change", [{"train.extra_experts": 1}, {"objective.expert_weights": "posterior"}])
def test_a_gate_that_training_would_not_follow_is_refused(change):
    (key,) = change
    with pytest.raises(ConfigError, match=key):
        fit([config(change)], images(), assignments=assigned(96))
