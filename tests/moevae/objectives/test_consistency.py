"""Consistency losses against closed forms, brute force and torch's augmentations."""

import math

import pytest
import torch
from small import normal
from torch import distributions
from torch.nn import functional

from moevae.config import overrides, schema
from moevae.config.registry import CONSISTENCY_TERMS
from moevae.data.augmentation import ROTATION, SHIFT, STRETCH, jitter, stretch
from moevae.data.neighbors import nearest_neighbors
from moevae.models.gate import gate_log_probs
from moevae.objectives import consistency
from moevae.objectives.consistency import (
    ConsistencyLoss,
    Neighborhood,
    consistency_loss,
    knn,
    knn_stretch,
    vat,
)
from moevae.utils.rng import RunGenerators

SIDE, EXPERTS, BATCH = 10, 3, 6
PIXELS = SIDE * SIDE
SUMS = [
    *((name,) for name in CONSISTENCY_TERMS),
    ("vat", "augmentation"),
    ("vat", "knn"),
    ("vat", "knn-stretch"),
]


def neighborhood(weight, images, radius, seeds=(1, 2)):
    """A linear gate; weight [R, D, K], images [R, B, D]."""

    def log_probs_of(x):
        return gate_log_probs((x @ weight).transpose(1, 2), torch.ones(len(weight)))

    streams = (RunGenerators(seeds, name) for name in ("directions", "jitters"))
    return Neighborhood(
        log_probs_of, images, log_probs_of(images), radius, (SIDE, SIDE), *streams, lambda: images.flip(1)
    )


def random(radius=1.0, experts=EXPERTS):
    weight = 0.3 * normal(2, PIXELS, experts).float()
    images = torch.rand(2, BATCH, PIXELS, generator=torch.Generator().manual_seed(3))
    return weight.requires_grad_(), images, torch.full((2, BATCH), radius)


def kl(log_q, log_p):
    """Of [R, K, B], by torch.distributions."""
    q, p = (distributions.Categorical(logits=logits.transpose(1, 2)) for logits in (log_q, log_p))
    return distributions.kl_divergence(q, p)


def test_between_two_experts_the_worst_direction_is_that_of_their_weights():
    weight, images, radius = random(experts=2)
    around = neighborhood(weight, images, radius)
    axis = torch.nn.functional.normalize(weight[:, :, 1] - weight[:, :, 0], dim=1).unsqueeze(1)
    ends = [kl(around.log_probs, around.gate_log_probs_of(images + sign * axis)) for sign in (1, -1)]
    found = vat(around)
    # One of the two ends, whichever side the first guess lay on.
    nearest = torch.stack([(found - end).abs() for end in ends]).amin(0)
    torch.testing.assert_close(nearest, torch.zeros_like(nearest), rtol=0, atol=1e-5)


def test_the_worst_change_is_worse_than_changes_in_random_directions():
    weight, images, radius = random(radius=0.5)
    around = neighborhood(weight, images, radius)
    found = vat(around)
    for seed in range(20):
        direction = consistency.unit(normal(2, BATCH, PIXELS, seed=seed).float())
        assert (found > around.change(images + 0.5 * direction)).all()


def test_consistency_is_zero_for_radius_zero_and_for_a_constant_gate():
    weight, images, radius = random()
    assert vat(neighborhood(weight, images, 0 * radius)).abs().max() < 1e-6
    blind = torch.zeros_like(weight).requires_grad_()
    for name in (("vat",), ("augmentation",), ("vat", "augmentation")):
        change = consistency_loss(name, neighborhood(blind, images, radius))
        assert torch.equal(change, torch.zeros(2, BATCH))
        change.sum().backward()
        assert blind.grad.isfinite().all()


def test_consistency_has_no_gradient_through_the_clean_image():
    weight, images, radius = random()
    clean = weight.detach().clone().requires_grad_()
    log_probs = gate_log_probs((images @ clean).transpose(1, 2), torch.ones(2))
    around = neighborhood(weight, images, radius)
    consistency_loss(
        ("vat", "augmentation"), Neighborhood(**{**vars(around), "log_probs": log_probs})
    ).sum().backward()
    assert clean.grad is None
    assert (weight.grad != 0).any()


def test_neighbors_agree_by_the_chance_that_both_get_one_expert():
    weight, images, radius = random()
    around = neighborhood(weight, images, radius)
    q = distributions.Categorical(logits=around.log_probs.transpose(1, 2)).probs.double()
    chance = (q * q.flip(1)).sum(-1)
    torch.testing.assert_close(knn(around).double(), -chance.log() / 2, rtol=0, atol=1e-5)
    sure = gate_log_probs(torch.eye(EXPERTS)[None, :, :1].expand(1, EXPERTS, 4) * 1e4, torch.ones(1))
    agreed = Neighborhood(**{**vars(around), "log_probs": sure, "gate_log_probs_of": lambda _: sure})
    assert torch.equal(knn(agreed), torch.zeros(1, 4))


def test_neighbors_learn_from_each_other():
    weight, images, radius = random()
    clean = weight.detach().clone().requires_grad_()
    log_probs = gate_log_probs((images @ clean).transpose(1, 2), torch.ones(2))
    around = neighborhood(weight, images, radius)
    knn(Neighborhood(**{**vars(around), "log_probs": log_probs})).sum().backward()
    # The pairs of the batch are each other's neighbors, so that either side learns the same.
    torch.testing.assert_close(clean.grad, weight.grad)
    assert (weight.grad != 0).any()


def test_the_neighbors_that_are_drawn_are_all_of_the_nearest_and_no_others():
    pixels = torch.rand(30, PIXELS, generator=torch.Generator().manual_seed(8))
    runs = [
        overrides.override(schema.RunConfig(seed=seed), {"objective.consistency": ["knn"]}) for seed in (1, 2)
    ]
    loss_of = ConsistencyLoss(runs, pixels, (SIDE, SIDE), torch.device("cpu"))
    rows, seen = torch.stack([torch.arange(30), torch.arange(30).flip(0)]), []

    def images_at(places):
        seen.append(places)
        return pixels[places]

    def log_probs_of(images):
        return torch.full((2, EXPERTS, images.shape[1]), 1 / EXPERTS).log()

    for _ in range(200):
        loss = loss_of(log_probs_of, images_at, pixels[rows], log_probs_of(pixels[rows]), rows)
    torch.testing.assert_close(loss, torch.full((2,), math.log(EXPERTS) / 2))
    near = nearest_neighbors(pixels)
    for run in (0, 1):
        for place in range(30):
            found = {int(places[run][rows[run] == place]) for places in seen}
            assert found == set(near[place].tolist())


@pytest.mark.parametrize("name", SUMS)
def test_alone_equals_in_a_population_bit_for_bit(name):
    weight, images, radius = random()
    together = consistency_loss(name, neighborhood(weight, images, radius))
    for run, seed in enumerate((1, 2)):
        own = slice(run, run + 1)
        alone = consistency_loss(name, neighborhood(weight[own], images[own], radius[own], (seed,)))
        assert torch.equal(alone, together[own])


@pytest.mark.parametrize("names", [names for names in SUMS if len(names) > 1])
def test_terms_are_added(names):
    parts = [consistency_loss((name,), neighborhood(*random())) for name in names]
    torch.testing.assert_close(consistency_loss(names, neighborhood(*random())), sum(parts))


def test_a_stretched_neighbor_is_the_neighbor_at_other_proportions():
    weight, images, radius = random()
    around = neighborhood(weight, images, radius)
    # The same streams again give the proportions that were drawn.
    draws = 2 * RunGenerators((1, 2), "jitters").uniform(BATCH, 2) - 1
    made = stretch(images.flip(1), draws, (SIDE, SIDE))
    neighbor = Neighborhood(**{**vars(around), "neighbor": lambda: made})
    assert torch.equal(knn_stretch(around), knn(neighbor))
    assert not torch.equal(knn_stretch(around), knn(around))


def moved(images, right=0.0, down=0.0, turn=0.0, growth=0.0):
    draws = torch.tensor([right, down, turn, growth]).expand(*images.shape[:2], 4)
    return jitter(images, draws, (SIDE, SIDE)).unflatten(-1, (SIDE, SIDE))


def test_jitter_translates_rotates_and_scales_by_the_drawn_amounts():
    images = torch.rand(2, BATCH, PIXELS, generator=torch.Generator().manual_seed(4))
    pictures = images.unflatten(-1, (SIDE, SIDE))
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(moved(images), pictures, **close)
    pixel = 1 / SIDE / SHIFT
    torch.testing.assert_close(moved(images, right=pixel)[..., 1:], pictures[..., :-1], **close)
    torch.testing.assert_close(moved(images, down=pixel)[..., 1:, :], pictures[..., :-1, :], **close)
    quarter = moved(images, turn=math.pi / 2 / ROTATION)
    torch.testing.assert_close(quarter, torch.rot90(pictures, -1, (-2, -1)), **close)
    assert moved(torch.ones_like(images), growth=-1.0).mean() < 0.9  # shrunk: black at the edges
    torch.testing.assert_close(moved(torch.ones_like(images), growth=1.0), torch.ones_like(pictures), **close)


@pytest.mark.parametrize(("wider", "higher"), [(1.0, 0.0), (0.0, 1.0), (0.5, -0.5), (-1.0, -1.0)])
def test_a_stretch_moves_a_bright_spot_away_from_the_center_by_its_factors(wider, higher):
    side = 61
    rows, columns = torch.meshgrid(*2 * [torch.arange(side) - side // 2], indexing="ij")
    spot = torch.exp(-((columns - 4.0) ** 2 + (rows + 5.0) ** 2) / 8).reshape(1, 1, -1)
    draws = torch.tensor([wider, higher]).expand(1, 1, 2)
    found = stretch(spot, draws, (side, side)).reshape(side, side)
    center = [float((where * found).sum() / found.sum()) for where in (columns, rows)]
    assert center == pytest.approx([4 * math.exp(STRETCH * wider), -5 * math.exp(STRETCH * higher)], abs=0.05)
    torch.testing.assert_close(stretch(spot, 0 * draws, (side, side)), spot, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (27, 31)])
def test_a_stretch_samples_exactly_where_its_affine_map_leads(size):
    images = torch.rand(2, BATCH, math.prod(size), generator=torch.Generator().manual_seed(5))
    draws = torch.linspace(-1, 1, 4 * BATCH).view(2, BATCH, 2)
    maps = functional.pad(torch.diag_embed((-STRETCH * draws).exp()), (0, 1)).flatten(0, 1)
    pictures = images.reshape(-1, 1, *size)
    grid = functional.affine_grid(maps, list(pictures.shape), align_corners=False)
    expected = functional.grid_sample(pictures, grid, align_corners=False)
    assert torch.equal(stretch(images, draws, size), expected.view_as(images))
