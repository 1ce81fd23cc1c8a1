"""Pixels that depend on the pixels before them: a normalized distribution, equal on every path."""

import itertools
from typing import get_args, get_type_hints

import pytest
import torch
from small import ODD, config, mixture, normal
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from moevae.config.schema import ModelConfig
from moevae.models.autoregressive import CONTEXTS
from moevae.models.dispatch import Dispatch
from moevae.nn.masked import made_mask
from moevae.training.mixed_precision import in_precision
from moevae.utils.rng import RunGenerators

OWN = ODD | {"model.likelihood": "autoregressive"}
NETWORKS = {
    "window": {},
    "window of one layer": {"model.pixel_depth": 1, "model.pixel_width": 5},
    "window, shared": {"model.pixel_layers": "shared"},
    "conv": {"model.pixel_network": "conv", "model.pixel_width": 6, "model.pixel_depth": 3},
    "conv, deep": {"model.pixel_network": "conv", "model.pixel_width": 4, "model.pixel_depth": 6},
    "conv, shared": {"model.pixel_network": "conv", "model.pixel_width": 5, "model.pixel_layers": "shared"},
    "made": {"model.pixel_network": "made", "model.pixel_width": 40},
    "made of one layer": {"model.pixel_network": "made", "model.pixel_width": 23, "model.pixel_depth": 1},
    "made, shared": {"model.pixel_network": "made", "model.pixel_layers": "shared"},
}
EACH = pytest.mark.parametrize("changes", NETWORKS.values(), ids=NETWORKS)


def model(size=(5, 6), seeds=(0, 1), **changes):
    return mixture(config(OWN | {"model.num_experts": 3} | changes), size, seeds)


def binary(*shape, seed=0):
    return (normal(*shape, seed=seed) > 0).double()


def test_each_value_of_the_setting_has_a_network():
    assert {*get_args(get_type_hints(ModelConfig)["pixel_network"])} == {*CONTEXTS}


@EACH
@pytest.mark.parametrize("size", [(2, 4), (2, 3), (1, 5), (5, 1)])
def test_the_probabilities_of_all_images_add_up_to_one(changes, size):
    experts, z, pixels = model(size, **changes).experts, normal(2, 3, 1, 3), size[0] * size[1]
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=pixels)), dtype=torch.float64)
    found = torch.stack([experts.recon_log_prob(z, x.expand(2, 1, pixels))[..., 0] for x in every])
    torch.testing.assert_close(found.exp().sum(0), torch.ones(2, 3, dtype=torch.float64))
    assert found.std(0).min() > 0.1


@EACH
def test_rounded_weights_give_a_distribution_too(changes):
    """`evaluation.iwae_precision` rests on it: the bound is that of a model."""
    experts = in_precision(model((2, 3), **changes).float().experts, "bfloat16")
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)))  # [B, D]
    x, z = every.expand(2, -1, -1), normal(2, 3, 1, 3).float().expand(-1, -1, len(every), -1)
    found = experts.recon_log_prob(z, x).double().exp().sum(-1)
    torch.testing.assert_close(found, torch.ones(2, 3, dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [(5, 6), (9, 11)])
def test_it_is_a_masked_convolution(size):
    context = model(size).experts.context
    x = binary(2, 4, size[0] * size[1])
    found = context(x)
    network = context.network
    for run, expert in itertools.product(range(2), range(3)):
        own = slice(32 * expert, 32 * (expert + 1))
        kernel = torch.zeros(32, 49, dtype=torch.float64)
        kernel[:, :24] = network.first.weight[run][:, own].T
        seen = functional.conv2d(
            x[run].view(-1, 1, *size), kernel.view(32, 1, 7, 7), network.first.bias[run][own], padding=3
        )
        second, last = network.rest.layers
        for layer in (second, last):
            weight = layer.weight[run, expert].T[:, :, None, None]
            seen = functional.conv2d(seen.relu(), weight, layer.bias[run, expert])
        torch.testing.assert_close(found[run, expert], seen.flatten(1))


def test_a_pixel_depends_on_preceding_pixels_of_its_window_only():
    height, width = size = (9, 11)
    context, x = model(size, (0,)).experts.context, binary(1, 1, height * width)
    base = context(x)[0, :, 0]
    for place in (0, 37, 60, 98):
        other = x.clone()
        other[..., place] = 1 - other[..., place]
        changed = (context(other)[0, :, 0] != base).any(0).nonzero().flatten().tolist()
        row, column = divmod(place, width)
        allowed = {
            r * width + c
            for r in range(row, min(row + 4, height))
            for c in range(max(column - 3, 0), min(column + 4, width))
            if r * width + c > place
        }
        assert set(changed) <= allowed
        assert bool(changed) == bool(allowed)


@EACH
def test_rows_of_chosen_experts_are_those_of_all(changes):
    experts, x = model(**changes).experts, binary(2, 5, 30)
    z, chosen = normal(2, 3, 5, 3), torch.tensor([[[2, 0, 1, 2, 2]], [[1, 1, 0, 1, 2]]])
    dispatch = Dispatch.of(chosen, 3)
    rows = dispatch.images(x)
    latents = dispatch.rows(z.gather(1, chosen[..., None].expand(-1, -1, -1, 3))).unsqueeze(1)
    found = experts.recon_log_prob_rows(latents, rows, dispatch, experts.context_rows(x, dispatch))
    every = experts.recon_log_prob(z, x).gather(1, chosen)
    torch.testing.assert_close(dispatch.choices(found[:, 0]), every)


@EACH
def test_each_of_several_samples_sees_its_own_image(changes):
    experts, x, z = model(**changes).experts, binary(2, 4, 30), normal(2, 3, 4, 5, 3)
    together = experts.recon_log_prob(z.flatten(2, 3), x).unflatten(2, (4, 5))
    for sample in range(5):
        torch.testing.assert_close(together[..., sample], experts.recon_log_prob(z[..., sample, :], x))


@EACH
def test_sampling_pixel_by_pixel_agrees_with_the_density(changes):
    experts, z = model(**changes).experts, normal(2, 3, 4, 3)
    logits, uniform = experts.decode(z), RunGenerators([0], "test").uniform(30)[0].double()
    probs = experts.context.sample_probs(logits, uniform)
    drawn = (uniform < probs).double()  # [R, K, B, D]
    for expert, image in itertools.product(range(3), range(4)):
        whole = logits[:, expert, image] + experts.context(drawn[:, expert, image, None])[:, expert, 0]
        torch.testing.assert_close(probs[:, expert, image], whole.sigmoid())
    assert 0.2 < drawn.mean() < 0.8


@EACH
def test_mean_images_are_the_same_each_time_alone_and_in_a_population(changes):
    both, z = model(**changes).experts, normal(2, 3, 4, 3)
    alone = model(**changes).select_run(1).experts
    assert torch.equal(both.mean(z), both.mean(z))
    torch.testing.assert_close(alone.mean(z[1:]), both.mean(z)[1:])


@EACH
@pytest.mark.parametrize("size", [(5, 6), (9, 11)])
def test_the_derivative_by_a_pixel_itself_and_by_later_ones_is_zero(changes, size):
    smooth = {"model.activation": "tanh"}
    context, pixels = model(size, (0,), **changes | smooth).experts.context, size[0] * size[1]
    slopes = torch.autograd.functional.jacobian(
        lambda x: context(x.view(1, 1, -1))[0, :, 0], binary(pixels)
    )  # [K, output, input]
    assert not slopes.triu().any()
    assert slopes[:, 1:].any(-1).float().mean() > 0.9
    assert slopes.any(1)[:, :-1].float().mean() > 0.9


def test_a_network_of_masked_convolutions_is_that_of_torch():
    size, changes = (9, 11), NETWORKS["conv"]
    context, x = model(size, **changes).experts.context, binary(2, 4, 99)
    found, (stem, *blocks, last) = context(x), (context.network.first, *context.network.rest.layers)
    for run, expert in itertools.product(range(2), range(3)):
        kernel = torch.zeros(7 * 7, 6, dtype=torch.float64)
        own = slice(6 * expert, 6 * (expert + 1))
        kernel[:24] = stem.weight[run][:, own]
        seen = functional.conv2d(
            x[run].view(-1, 1, *size), kernel.T.reshape(6, 1, 7, 7), stem.bias[run][own], padding=3
        )
        for block, dilation in zip(blocks, (1, 2, 4), strict=True):
            seen, kernel = seen.relu(), torch.zeros(9, 6, 6, dtype=torch.float64)
            kernel[:5] = block.weight[run, expert].view(5, 6, 6)
            kernel = kernel.permute(2, 1, 0).reshape(6, 6, 3, 3)
            seen = seen + functional.conv2d(
                seen, kernel, block.bias[run, expert], padding=dilation, dilation=dilation
            )
        weight = last.weight[run, expert].T[:, :, None, None]
        expected = functional.conv2d(seen.relu(), weight, last.bias[run, expert])
        torch.testing.assert_close(found[run, expert], expected.flatten(1))


def test_a_perceptron_of_all_pixels_sees_all_that_precede():
    """Germain et al. (2015): the product of the masks is strictly triangular, and full if wide enough."""
    masks = [made_mask(30, 40, 30, True, False), made_mask(40, 40, 30, False, False)]
    paths = masks[0] @ masks[1] @ made_mask(40, 30, 30, False, True)
    assert torch.equal(paths > 0, torch.ones(30, 30).triu(1) > 0)


@pytest.mark.parametrize("layers", ["separate", "shared"])
@pytest.mark.parametrize("network", ["window", "conv", "made"])
def test_experts_that_share_layers_differ_in_the_last_only(network, layers):
    own = model(**{"model.pixel_network": network, "model.pixel_layers": layers}).experts.context.network
    stacks = [len(layer.batch) for layer in (*own.trunk.layers, *own.rest.layers)]
    hidden = 2 + (network == "conv")
    assert stacks == ([1] * hidden if layers == "shared" else [2] * hidden)
    assert own.first.shapes["weight"][-1] == 3 * own.width


@EACH
def test_the_chosen_expert_costs_as_much_as_a_single_one(changes):
    counted = []
    for experts in (1, 4):
        own = model(**changes | {"model.num_experts": experts}, seeds=(0,)).experts
        x, chosen = binary(1, 64, 30), (torch.arange(64) % experts).view(1, 1, 64)
        with FlopCounterMode(display=False) as counter:
            own.context_rows(x, Dispatch.of(chosen, experts)).sum().backward()
        counted.append(counter.get_total_flops())
    # After shared convolutions, the last layer of all experts costs less than a copy of the feature maps.
    together = changes == {**changes, "model.pixel_network": "conv", "model.pixel_layers": "shared"}
    assert 0 < counted[0] <= counted[1] <= (1.05 if together else 1) * counted[0]
