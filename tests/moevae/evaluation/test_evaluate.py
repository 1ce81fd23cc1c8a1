"""Evaluation: repeatable, and correct for gates made by hand."""

import math
import re

import numpy as np
import plain
import pytest
import torch
from scipy import stats
from small import EVEN, ODD, config, images, mixture, normal

from moevae.config.overrides import override
from moevae.data.binarization import target_images
from moevae.data.datasets import Images
from moevae.evaluation.evaluate import evaluate
from moevae.evaluation.log_weights import BLOCK
from moevae.models.mixture import Mixture
from moevae.training.fit import fit

BOUNDS = ("mixture_elbo", "marginal_elbo", "map_elbo")


def population(**changes):
    """Runs that are not trained, but as different as training makes them."""
    priors = ((), (1, 2, 3, 4, 5, 6, 7), (9, 1, 1, 1, 1, 1, 1))
    configs = [
        config(ODD | {"routing.temperature": heat, "model.expert_prior": prior}, seed=s, **changes)
        for s, (heat, prior) in enumerate(zip((0.2, 1, 5), priors, strict=True))
    ]
    return mixture(configs[0], seeds=(0, 1, 2)).float(), configs


def test_asking_twice_gives_the_same_numbers():
    model, configs = population()
    data = images()
    first, second = evaluate(model, configs, data), evaluate(model, configs, data)
    assert [run.metrics for run in first] == [run.metrics for run in second]
    assert first[0].metrics != evaluate(model, configs, data, "validation")[0].metrics


@pytest.mark.parametrize("chunk", [1, BLOCK, 2 * BLOCK + 1])
def test_the_chunk_decides_no_number(chunk):
    model, configs = population(**{"evaluation.num_samples": 2})
    data = images(test=2 * BLOCK + 21)
    for whole, parts in zip(
        evaluate(model, configs, data), evaluate(model, configs, data, chunk=chunk), strict=True
    ):
        assert parts.metrics == pytest.approx(whole.metrics, rel=1e-6)
        assert np.array_equal(parts.assignments, whole.assignments)


@pytest.mark.parametrize("count", [16, 70, 144])
def test_other_runs_change_no_bit(count):
    model, configs = population()
    data = images(test=count)
    together = evaluate(model, configs, data)
    for run, own in enumerate(configs):
        alone = Mixture(own.model, model.size, (own.seed,))
        alone.load_state_dict({name: value[run : run + 1] for name, value in model.state_dict().items()})
        (found,) = evaluate(alone, [own], data)
        assert found.metrics == together[run].metrics
        assert np.array_equal(found.assignments, together[run].assignments)
        assert np.array_equal(found.gate_probs, together[run].gate_probs)


def test_a_slow_loop_gives_the_same_bounds():
    run = config(ODD | {"routing.temperature": 0.5, "evaluation.num_samples": 1})
    model, data = mixture(run).float(), images(test=40)
    (found,) = evaluate(model, [run], data)
    x = target_images(data.test, run.data, "test")
    means = []
    for noise_seed in range(100):  # evaluation's own noise is another draw of the same quantity
        noise = normal(7, 40, 3, seed=noise_seed, dtype=torch.float32)
        means.append(plain.mixture_elbo(model, 0, x, noise, 0.5).mean().item())
    assert abs(found.metrics["mixture_elbo"] - np.mean(means)) < 5 * np.std(means)


def test_every_bound_has_the_prior():
    """A gate equal to the prior has no divergence from it."""
    prior = (9, 1, 1, 1, 1, 1, 1)
    run = config(ODD | {"model.expert_prior": prior})
    model = Mixture(run.model, images().size, (0,))
    shares = torch.tensor(prior) / 15
    with torch.no_grad():
        last = model.gate.network.layers[-1]
        last.weight.zero_()
        last.bias.copy_(shares.log())
    (found,) = evaluate(model, [run], images())
    (uniform,) = evaluate(model, [config(ODD)], images())
    assert found.metrics["kl_gate"] == pytest.approx(0, abs=1e-6)
    expected = (shares * (7 * shares).log()).sum().item()
    assert uniform.metrics["kl_gate"] == pytest.approx(expected, rel=1e-5)
    gain = found.metrics["mixture_elbo"] - uniform.metrics["mixture_elbo"]
    assert gain == pytest.approx(expected, abs=1e-4)
    # All images go to expert 0.
    gain = found.metrics["map_elbo"] - uniform.metrics["map_elbo"]
    assert gain == pytest.approx(math.log(7 * 9 / 15), abs=1e-4)


def test_terms_add_up_and_bounds_keep_their_order():
    model, configs = population()
    for run, own in zip(evaluate(model, configs, images()), configs, strict=True):
        found = run.metrics
        parts = found["recon_log_prob"] - found["kl_z"] - found["kl_gate"]
        assert found["mixture_elbo"] == pytest.approx(parts, rel=1e-6)
        assert found["marginal_elbo"] >= max(found["mixture_elbo"], found["map_elbo"])
        imbalance = stats.entropy(run.importance, own.model.expert_prior or [1 / 7] * 7)
        assert found["kl_gate"] == pytest.approx(found["mutual_information"] + imbalance, rel=1e-4)
        assert found["marginal_kl"] == pytest.approx(imbalance, rel=1e-4)
        # From other samples of z than the mixture ELBO: equal on average.
        assert found["gate_gap"] == pytest.approx(found["marginal_elbo"] - found["mixture_elbo"], abs=0.3)
        recon, kl_z = (run.elbo_terms[name].sum() for name in ("recon_log_prob", "kl_z"))
        total = recon - kl_z - found["mutual_information"] - found["marginal_kl"]
        assert found["mixture_elbo"] == pytest.approx(total, rel=1e-6)
        assert run.load.tolist() == (np.bincount(run.assignments, minlength=7) / 70).tolist()
        assert run.gate_probs.mean(1) == pytest.approx(run.importance, abs=1e-6)
        assert np.array_equal(run.gate_probs.argmax(0), run.assignments)
        assert run.importance.sum() == pytest.approx(1, abs=1e-6)


def test_more_samples_sharpen_the_reconstruction_and_nothing_else():
    configs = [config(ODD, seed=seed) for seed in range(8)]
    start = mixture(configs[0])
    model = Mixture(configs[0].model, start.size, tuple(range(8)))
    model.load_state_dict({name: value.expand(8, -1).float() for name, value in start.state_dict().items()})

    def metrics(samples, name):
        runs = [override(run, {"evaluation.num_samples": samples}) for run in configs]
        return np.array([run.metrics[name] for run in evaluate(model, runs, images())])

    assert np.unique(metrics(1, "kl_z")).size == np.unique(metrics(50, "kl_z")).size == 1
    assert np.ptp(metrics(50, "recon_log_prob")) < np.ptp(metrics(1, "recon_log_prob")) / 2


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_every_routing_is_measured_by_the_same_bounds(kind):
    model, configs = population()
    _, routed = population(**{"routing.kind": kind})
    expected = [run.metrics for run in evaluate(model, configs, images())]
    assert [run.metrics for run in evaluate(model, routed, images())] == expected


def test_the_final_temperature_is_the_one_measured():
    model, _ = population()
    moving = {
        "routing.temperature_schedule": "linear",
        "routing.temperature": 9.0,
        "routing.final_temperature": 0.5,
    }
    ended = [config(ODD | moving, seed=seed) for seed in range(3)]
    constant = [config(ODD | {"routing.temperature": 0.5}, seed=seed) for seed in range(3)]
    first, second = (evaluate(model, runs, images()) for runs in (ended, constant))
    assert [run.metrics for run in first] == [run.metrics for run in second]


def by_hand(counts, confidence=50.0):
    """A gate that sends `counts[k]` images to expert k, because their k-th pixel alone is white."""
    run = config({"model.num_experts": 4, "model.gate_hidden": (), "data.binarization": "none"})
    model = Mixture(run.model, (2, 2), (0,))
    with torch.no_grad():
        model.gate.network.layers[0].weight.copy_(confidence * torch.eye(4))
    pixels = torch.eye(4)[np.repeat(np.arange(4), counts)]
    empty = torch.zeros(0, 4)
    (found,) = evaluate(model, [run], Images("by hand", "0" * 64, 2, 2, empty, empty, pixels))
    return found


@pytest.mark.parametrize(
    ("counts", "dead"),
    [([10, 10, 10, 10], 0), ([40, 0, 0, 0], 3), ([97, 1, 1, 1], 3), ([91, 3, 3, 3], 0), ([50, 50, 0, 0], 2)],
)
def test_a_gate_made_by_hand(counts, dead):
    found, load = by_hand(counts), np.array(counts) / sum(counts)
    assert found.assignments.tolist() == np.repeat(np.arange(4), counts).tolist()
    assert found.load.tolist() == load.tolist()
    assert found.importance == pytest.approx(load, abs=1e-6)
    assert found.metrics["dead_experts"] == dead
    assert found.metrics["effective_experts"] == pytest.approx(np.exp(stats.entropy(load)))
    assert found.metrics["mutual_information"] == pytest.approx(stats.entropy(load), abs=1e-5)
    assert found.metrics["kl_gate"] == pytest.approx(math.log(4))


def test_a_constant_gate_has_no_information():
    found = by_hand([10, 20, 30, 40], confidence=0.0)
    assert found.metrics["mutual_information"] == pytest.approx(0, abs=1e-6)
    assert found.metrics["kl_gate"] == pytest.approx(0, abs=1e-6)
    assert found.metrics["mixture_elbo"] < found.metrics["marginal_elbo"]
    assert found.importance == pytest.approx([0.25] * 4)


def test_evaluation_changes_no_training():
    configs, data = [config(EVEN)], images()
    blind = fit(configs, data)
    watched = fit(configs, data, on_epoch=lambda progress: evaluate(progress.model, configs, data))
    assert (
        evaluate(blind.model, configs, data)[0].metrics == evaluate(watched.model, configs, data)[0].metrics
    )


def test_batches_that_do_not_fit_in_memory_are_halved_with_the_same_numbers(monkeypatch):
    """The device holds 128 images. Evaluations that ran out of memory must draw no noise."""
    run, data = config(), images(test=700)
    model = mixture(run).float()
    expected = evaluate(model, [run], data)[0].metrics
    forward, sizes = model.forward, []

    def small(x, noise, heat, gray):
        sizes.append(x.shape[1])
        if x.shape[1] > 128:
            raise torch.OutOfMemoryError("made up")
        return forward(x, noise, heat, gray)

    monkeypatch.setattr(model, "forward", small)
    with pytest.warns(UserWarning, match=r"^\d+ images ") as warned:
        found = evaluate(model, [run], data)[0].metrics
    assert found == pytest.approx(expected, rel=1e-6)
    assert sizes[:4] == [700, 512, 256, 128]
    named = [[int(number) for number in re.findall(r"\d+", str(each.message))] for each in warned]
    assert named == [[1024, 512], [512, 256], [256, 128]]
    monkeypatch.setattr(model, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("made up")))
    with pytest.raises(torch.OutOfMemoryError), pytest.warns(UserWarning, match=r"^\d+ images "):
        evaluate(model, [run], data)


@pytest.mark.parametrize(("samples", "expected"), [(0, []), (2, [128, 150, 278, 300, 428, 450])])
def test_the_images_of_the_iwae_bound_are_counted_over_all_runs(samples, expected):
    model, configs = population(**{"evaluation.iwae_samples": samples, "evaluation.iwae_images": 150})
    seen = []
    evaluate(model, configs, images(test=200), on_images=lambda *counts: seen.append(counts))
    assert seen == [(done, 450) for done in expected]
