"""Pixels that depend on the pixels before them: a distribution over images, whatever path computes it."""

import itertools

import pytest
import torch
from small import ODD, config, mixture, normal
from torch.nn import functional

from moevae.models.dispatch import Dispatch
from moevae.utils.rng import RunGenerators

OWN = ODD | {"model.likelihood": "autoregressive"}


def model(size=(5, 6), seeds=(0, 1), **changes):
    return mixture(config(OWN | {"model.num_experts": 3} | changes), size, seeds)


def binary(*shape, seed=0):
    return (normal(*shape, seed=seed) > 0).double()


def test_the_probabilities_of_all_images_add_up_to_one():
    experts, z = model((2, 4)).experts, normal(2, 3, 1, 3)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=8)), dtype=torch.float64)
    found = torch.stack([experts.recon_log_prob(z, x.expand(2, 1, 8))[..., 0] for x in every])
    torch.testing.assert_close(found.exp().sum(0), torch.ones(2, 3, dtype=torch.float64))
    assert found.std(0).min() > 0.1


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


def test_a_pixel_is_told_nothing_of_itself_of_later_ones_and_of_those_afar():
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


def test_rows_of_chosen_experts_are_those_of_all():
    experts, x = model().experts, binary(2, 5, 30)
    z, chosen = normal(2, 3, 5, 3), torch.tensor([[[2, 0, 1, 2, 2]], [[1, 1, 0, 1, 2]]])
    dispatch = Dispatch.of(chosen, 3)
    rows = dispatch.images(x)
    latents = dispatch.rows(z.gather(1, chosen[..., None].expand(-1, -1, -1, 3))).unsqueeze(1)
    found = experts.recon_log_prob_rows(latents, rows, dispatch, experts.context_rows(rows, dispatch))
    every = experts.recon_log_prob(z, x).gather(1, chosen)
    torch.testing.assert_close(dispatch.choices(found[:, 0]), every)


def test_each_of_several_samples_sees_its_own_image():
    experts, x, z = model().experts, binary(2, 4, 30), normal(2, 3, 4, 5, 3)
    together = experts.recon_log_prob(z.flatten(2, 3), x).unflatten(2, (4, 5))
    for sample in range(5):
        torch.testing.assert_close(together[..., sample], experts.recon_log_prob(z[..., sample, :], x))


def test_what_is_drawn_pixel_by_pixel_has_the_probabilities_of_the_whole():
    experts, z = model().experts, normal(2, 3, 4, 3)
    logits, uniform = experts.decode(z), RunGenerators([0], "test").uniform(30)[0].double()
    told = experts.context.sample_probs(logits, uniform)
    drawn = (uniform < told).double()  # [R, K, B, D]
    for expert, image in itertools.product(range(3), range(4)):
        whole = logits[:, expert, image] + experts.context(drawn[:, expert, image, None])[:, expert, 0]
        torch.testing.assert_close(told[:, expert, image], whole.sigmoid())
    assert 0.2 < drawn.mean() < 0.8


def test_mean_images_are_the_same_each_time_alone_as_in_company():
    both, z = model().experts, normal(2, 3, 4, 3)
    alone = model().select_run(1).experts
    assert torch.equal(both.mean(z), both.mean(z))
    torch.testing.assert_close(alone.mean(z[1:]), both.mean(z)[1:])
