"""Laws of interpolations, traversals and neighbors, and loops over one expert at a time."""

import pytest
import torch
from small import EVEN, HEIGHT, ODD, WIDTH, config, mixture
from torch import distributions

from moevae.models.mixture import Mixture
from moevae.visualization.latent import interpolations, latent_kl, nearest_images, pairs_by_expert, traversals

PIXELS = HEIGHT * WIDTH
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def model() -> Mixture:
    return mixture(config(ODD), seeds=SEEDS)


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, PIXELS, generator=torch.Generator().manual_seed(seed)).double()


def alone(model: Mixture, run: int) -> Mixture:
    """One run of a population, by itself."""
    single = Mixture(model.config, model.size, (model.seeds[run],)).to(next(model.parameters()).dtype)
    single.load_state_dict({name: value[run : run + 1] for name, value in model.state_dict().items()})
    return single


def test_an_interpolation_starts_and_ends_with_the_reconstructions_of_its_images(model):
    first, second = pixels(3, 7, seed=1), pixels(3, 7, seed=2)
    way = interpolations(model, first, second, 5)
    assert way.shape == (3, 7, 5, PIXELS)
    for images, end in ((first, 0), (second, -1)):
        for run in range(3):
            for expert in range(7):
                mu, _ = model.experts.encode(images[:, expert : expert + 1])  # [R, K, 1, Z]
                expected = model.experts.mean(mu)[run, expert, 0]
                torch.testing.assert_close(way[run, expert, end], expected)


def test_an_interpolation_is_straight_and_symmetric(model):
    first, second = pixels(3, 7, seed=1), pixels(3, 7, seed=2)
    there, back = interpolations(model, first, second, 3), interpolations(model, second, first, 3)
    torch.testing.assert_close(there.flip(2), back)
    mu = [model.experts.encode(images)[0] for images in (first, second)]
    middle = sum(each.diagonal(dim1=1, dim2=2).transpose(1, 2) for each in mu) / 2  # [R, K, Z]
    torch.testing.assert_close(there[:, :, 1], model.experts.mean(middle.unsqueeze(2)).squeeze(2))
    still = interpolations(model, first, first, 4)
    torch.testing.assert_close(still, still[:, :, :1].expand_as(still))


def test_a_traversal_contains_the_image_of_the_prior_mean(model):
    walks = traversals(model, torch.tensor([-3.0, 0.0, 2.0]))
    assert walks.shape == (3, 7, 3, 3, PIXELS)
    mean = model.decode_prior_samples(torch.zeros(3, 7, 1, 3).double())  # [R, K, 1, D]
    torch.testing.assert_close(walks[:, :, :, 1], mean.expand(-1, -1, 3, -1))


def test_a_traversal_changes_one_latent_only(model):
    walks = traversals(model, torch.tensor([-3.0, 2.0]))
    for latent in range(3):
        z = torch.zeros(3, 7, 1, 3).double()
        z[..., latent] = 2.0
        torch.testing.assert_close(walks[:, :, latent, 1], model.decode_prior_samples(z).squeeze(2))


@pytest.mark.parametrize("chunk", [1, 10, 64])
def test_latent_kl_equals_a_loop_over_distributions(model, chunk):
    x, assignments = pixels(40), torch.randint(0, 6, (3, 40), generator=torch.Generator().manual_seed(3))
    found = latent_kl(model, x, assignments, chunk)
    mu, logvar = model.experts.encode(x.expand(3, 40, PIXELS))
    for run in range(3):
        for expert in range(7):
            own = assignments[run] == expert
            q = distributions.Normal(mu[run, expert, own], (logvar[run, expert, own] / 2).exp())
            prior = distributions.Normal(torch.zeros_like(q.loc), 1.0)
            expected = distributions.kl_divergence(q, prior).sum(0) / max(1, int(own.sum()))
            torch.testing.assert_close(found[run, expert], expected)
    assert not found[:, 6].any()  # an expert without images


def test_pairs_are_an_experts_own_and_the_first_in_order():
    assignments = torch.tensor([[0, 1, 0, 0, 3, 1], [2, 2, 2, 2, 2, 2]])
    order = torch.tensor([[5, 4, 3, 2, 1, 0], [1, 0, 2, 3, 4, 5]])
    assert pairs_by_expert(assignments, 4, order).tolist() == [
        [[3, 2], [5, 1], [-1, -1], [-1, -1]],
        [[-1, -1], [-1, -1], [1, 0], [-1, -1]],
    ]


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_the_nearest_image_is_that_of_brute_force(chunk):
    samples, images = pixels(9, seed=1), pixels(50, seed=2)
    place, distance = nearest_images(samples, images, chunk)
    slow = (samples[:, None] - images[None]).square().sum(-1).sqrt()
    assert place.tolist() == slow.argmin(1).tolist()
    torch.testing.assert_close(distance, slow.min(1).values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_image_is_nearest_to_itself(dtype):
    images = pixels(50).to(dtype)
    images = torch.cat([images, images])  # the first of equals
    place, distance = nearest_images(images[:50], images, 7)
    assert place.tolist() == list(range(50))
    assert not distance.any()


@pytest.mark.parametrize("sizes", [EVEN, ODD])
def test_other_runs_change_no_bit(sizes):
    run = config(sizes)
    together = mixture(run, seeds=SEEDS).float()
    experts = run.model.num_experts
    first, second, x = (
        pixels(3, experts, seed=1).float(),
        pixels(3, experts, seed=2).float(),
        pixels(40).float(),
    )
    assignments = torch.randint(0, experts, (3, 40), generator=torch.Generator().manual_seed(3))
    values = torch.linspace(-3, 3, 7)
    for number in range(3):
        single, own = alone(together, number), slice(number, number + 1)
        assert torch.equal(
            interpolations(together, first, second, 5)[own],
            interpolations(single, first[own], second[own], 5),
        )
        assert torch.equal(traversals(together, values)[own], traversals(single, values))
        assert torch.equal(latent_kl(together, x, assignments)[own], latent_kl(single, x, assignments[own]))
        order = torch.stack([torch.randperm(40, generator=torch.Generator().manual_seed(s)) for s in SEEDS])
        assert torch.equal(
            pairs_by_expert(assignments, experts, order)[own],
            pairs_by_expert(assignments[own], experts, order[own]),
        )
