"""Assignments: the answer for an image depends on that image alone, and its bound is a bound."""

from functools import partial

import numpy as np
import pytest
import torch
from small import EVEN, config, images, mixture

from moevae.config.overrides import override
from moevae.data.datasets import Images
from moevae.evaluation import assign as module
from moevae.evaluation.assign import assign, unusual_below
from moevae.evaluation.evaluate import evaluate
from moevae.models import experts
from moevae.training.fit import fit

KINDS = {
    "the gate sees drawn pixels": {},
    "the gate sees gray": {"model.gate_input": "grayscale"},
    "gray pixels": {"data.binarization": "none", "model.likelihood": "gaussian"},
    "convolutions": {
        "model.gate_network": "conv",
        "model.expert_network": "conv",
        "model.gate_hidden": [3, 5],
        "model.expert_hidden": [3],
    },
    "pixels that depend on pixels": {"model.likelihood": "autoregressive"},
    "a mixture as prior": {"model.latent_prior": "mixture"},
    "the VampPrior": {"model.latent_prior": "vamp"},
    "two layers of latents": {"model.latent_prior": "hierarchical"},
    "batch normalization": {"model.gate_normalization": "batch"},
    "templates": {"model.decoder": "deformable"},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS, scope="module")
def trained(request):
    """A run that was trained briefly, so that its gate is not uniform."""
    chosen = override(config(EVEN), {"train.epochs": 1, "train.learning_rate": 0.01, **request.param})
    return fit([chosen], images(train=64)).model, chosen


def same(one, other):
    return all(
        np.array_equal(value, getattr(other, name), equal_nan=True) for name, value in vars(one).items()
    )


def picked(found, rows):
    return module.Assignments(**{name: value[rows] for name, value in vars(found).items()})


@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_an_image_alone_in_any_order_and_any_number_has_one_answer(trained, threads):
    model, chosen = trained
    pixels = images(test=300).test
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = assign(model, chosen, pixels)
        assert same(assign(model, chosen, pixels.flip(0)), picked(whole, slice(None, None, -1)))
        assert same(assign(model, chosen, pixels[:200]), picked(whole, slice(200)))
        for row in (7, 128, 299):
            assert same(assign(model, chosen, pixels[row : row + 1]), picked(whole, slice(row, row + 1)))
        shuffled = torch.randperm(300, generator=torch.Generator().manual_seed(0))
        assert same(assign(model, chosen, pixels[shuffled]), picked(whole, shuffled.numpy()))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("changes", [*KINDS.values(), {"model.activation": "sigmoid"}])
def test_only_functions_whose_rounding_ignores_the_place_are_used(changes, monkeypatch):
    chosen = config(EVEN | changes)
    model = mixture(chosen).float()

    def refused(*arguments, **options):
        raise AssertionError("a function whose rounding depends on the place")

    for name in ("sigmoid", "logit"):
        monkeypatch.setattr(torch.Tensor, name, refused)
    monkeypatch.setattr(experts, "bernoulli_log_prob", refused)
    for network in model.modules():
        if getattr(network, "activation", None) is torch.sigmoid:
            monkeypatch.setattr(network, "forward", partial(_checked, network, network.forward))
    assert np.isfinite(assign(model, chosen, images().test).bounds).all()


def _checked(network, forward, x):
    assert network.activation is not torch.sigmoid
    return forward(x)


def test_probabilities_are_probabilities_and_name_the_expert(trained):
    found = assign(*trained, images().test)
    np.testing.assert_allclose(found.gate_probs.sum(1), 1, atol=1e-6)
    rows = np.arange(len(found.experts))
    np.testing.assert_array_equal(found.gate_probs[rows, found.experts], found.probabilities)
    left = found.gate_probs.copy()
    left[rows, found.experts] = -1
    np.testing.assert_array_equal(left.argmax(1), found.runners_up)


def test_answers_without_bounds_are_the_same(trained):
    pixels = images().test
    whole, quick = assign(*trained, pixels), assign(*trained, pixels, bounds=False)
    assert np.isnan(quick.bounds).all()
    assert same(quick, module.Assignments(whole.gate_probs, quick.bounds, whole.latents))


def test_answers_of_the_gate_alone_are_the_same(trained):
    pixels = images().test
    gate = assign(*trained, pixels, bounds=False, latents=False)
    assert np.isnan(gate.latents).all()
    assert np.array_equal(gate.gate_probs, assign(*trained, pixels).gate_probs)


@pytest.mark.parametrize(
    "prior",
    [
        "hierarchical",
        pytest.param("normal", marks=pytest.mark.slow),
        pytest.param("mixture", marks=pytest.mark.slow),
    ],
)
def test_many_draws_agree_with_the_evaluation(prior):
    """Two estimates of one bound, with other noise and batches, have the same expectation."""
    chosen = override(
        config(EVEN),
        {
            "data.binarization": "none",
            "evaluation.num_samples": 400,
            "train.epochs": 3,
            "model.latent_prior": prior,
        },
    )
    data = images(train=64, test=400)
    model = fit([chosen], data).model
    (measured,) = evaluate(model, [chosen], data, importance=False)
    found = assign(model, chosen, data.test, draws=400)
    np.testing.assert_array_equal(found.experts, measured.assignments)
    assert found.bounds.mean() == pytest.approx(measured.metrics["mixture_elbo"], abs=0.05)


def test_each_pixel_is_white_as_often_as_it_is_bright():
    draws = module._thresholds(16, 50, seed=3)
    for value in (0.0, 0.25, 0.5, 1.0):
        assert ((draws < value).sum(0) == 16 * value).all()
    assert ((draws < 0.4).sum(0) - 6.4).abs().max() < 1
    assert len(draws.unique()) == draws.numel()


def test_the_seed_of_the_split_and_not_the_data_draws_the_pixels():
    assert torch.equal(module._thresholds(4, 9, 1), module._thresholds(4, 9, 1))
    assert not torch.equal(module._thresholds(4, 9, 1), module._thresholds(4, 9, 2))


def test_about_one_of_a_hundred_images_like_those_of_the_run_is_unusual():
    chosen = config(EVEN)
    data: Images = images(train=64, validation=600, test=600)
    model = fit([chosen], data).model
    limit = unusual_below(model, chosen, data.validation)
    bounds = assign(model, chosen, data.validation).bounds
    assert 0 < (bounds < limit).mean() <= module.UNUSUAL_SHARE


def test_no_images_and_wrong_images():
    chosen = config(EVEN)
    model = mixture(chosen).float()
    assert assign(model, chosen, images().test[:0]).gate_probs.shape == (0, chosen.model.num_experts)
    with pytest.raises(ValueError, match=r"expected \[N, 30\]"):
        assign(model, chosen, torch.zeros(3, 29))
    with pytest.raises(TypeError, match=r"\bndarray\b.*\btensor\b"):
        assign(model, chosen, np.zeros((3, 30), np.float32))
    for wrong in (torch.full((3, 30), 1.5), torch.full((3, 30), -0.1), torch.full((3, 30), torch.nan)):
        with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
            assign(model, chosen, wrong)
    with pytest.raises(ValueError, match=r"\b2 runs\b"):
        assign(mixture(chosen, seeds=(0, 1)).float(), chosen, images().test)


@pytest.mark.parametrize(
    ("validation", "test", "names"),
    [
        (100, 200, ["validation"]),
        (99, 200, ["validation", "test"]),
        (0, 200, ["test"]),
        (50, 49, ["validation", "test", "training"]),
        (0, 0, ["training"]),
    ],
)
def test_images_of_training_are_a_measure_only_where_too_few_are_held_out(validation, test, names):
    data = images(train=64, validation=validation, test=test)
    parts = {"validation": data.validation, "test": data.test, "training": data.train}
    usual, splits = module.usual_images(data)
    assert splits == names
    assert torch.equal(usual, torch.cat([parts[name] for name in names]))
