"""Deformable experts: images, bounds, and equal training alone and in a population."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from small import config, images, normal, same, weights

from moevae.config.overrides import override
from moevae.config.schema import ModelConfig
from moevae.data.datasets import Images
from moevae.evaluation.evaluate import evaluate
from moevae.models.dispatch import Dispatch
from moevae.models.mixture import Mixture
from moevae.nn.deformation import Deformation, latent_size, latent_sizes
from moevae.nn.stacked import reset
from moevae.training.fit import fit
from moevae.training.trainer import Trainer

SIZE = (9, 12)
EVERY = ("affine", "displacement", "intensity", "thickness", "residual")
DEFORMABLE = {
    "model.decoder": "deformable",
    "model.encoder": "shared",
    "model.likelihood": "gaussian",
    "model.gaussian_std": "learned",
    "data.binarization": "none",
    "objective.expert_weights": "posterior",
}


def deformation(kinds=EVERY, batch=(2, 3)):
    """Random templates, scales of one, in float64."""
    made = Deformation(batch, SIZE, ModelConfig(decoder="deformable", deformations=kinds, latent_dim=2))
    reset(made, [None] * batch[0])
    made = made.double()
    with torch.no_grad():
        made.set_templates(normal(*batch, math.prod(SIZE), seed=1))
        made.unpadded("log_scale").zero_()
        if "residual" in kinds:
            made.unpadded("residual").copy_(normal(*made.shapes["residual"], seed=2))
    return made


def picture(made, run, expert):
    return made.unpadded("template")[run, expert].view(SIZE).detach().numpy()


def test_the_latent_at_rest_draws_the_template():
    made = deformation()
    drawn = made(torch.zeros(2, 3, 4, made.active.shape[1]).double())
    assert drawn.shape == (2, 3, 4, 108)
    assert torch.allclose(drawn, made.unpadded("template").unsqueeze(2).expand_as(drawn), atol=1e-5)


def test_an_affine_map_agrees_with_scipy():
    """x' = x + a x + b y + c, and y' in the same way; scipy counts in pixels, from the first one's center."""
    made, (height, width) = deformation(("affine",)), SIZE
    z = 0.3 * normal(2, 3, 5, 6, seed=3)
    drawn = made(z).view(2, 3, 5, *SIZE).detach().numpy()
    rows, columns = np.mgrid[:height, :width]
    x, y = (2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1
    for run, expert, image in np.ndindex(2, 3, 5):
        a, b, c, d, e, f = z[run, expert, image].tolist()
        there = [
            ((y + d * x + e * y + f + 1) * height - 1) / 2,
            ((x + a * x + b * y + c + 1) * width - 1) / 2,
        ]
        expected = scipy.ndimage.map_coordinates(picture(made, run, expert), there, order=1, mode="nearest")
        assert np.allclose(drawn[run, expert, image], expected, atol=1e-5)


def test_a_displacement_of_all_points_is_a_translation():
    """The interpolated fields of all grid points add up to one everywhere."""
    made = deformation(("displacement",))
    z = torch.zeros(2, 3, 1, 32).double()
    z[..., :16] = 2 / SIZE[1]  # one pixel to the right
    drawn = made(z).view(2, 3, *SIZE)
    template = made.unpadded("template").view(2, 3, *SIZE)
    assert torch.allclose(drawn[..., :-1], template[..., 1:], atol=1e-6)
    assert torch.allclose(drawn[..., -1], template[..., -1], atol=1e-6)


@pytest.mark.parametrize(
    ("amount", "filter"), [(1.0, scipy.ndimage.maximum_filter), (-1.0, scipy.ndimage.minimum_filter)]
)
def test_a_unit_of_thickness_is_a_step_of_morphology(amount, filter):
    made = deformation(("affine", "thickness"))
    z = torch.zeros(2, 3, 1, 7).double()
    z[..., -1] = amount
    drawn = made(z).view(2, 3, *SIZE).detach().numpy()
    for run, expert in np.ndindex(2, 3):
        assert np.allclose(drawn[run, expert], filter(picture(made, run, expert), size=3, mode="nearest"))


def test_intensity_and_residual_match_their_definitions():
    made = deformation(("affine", "intensity", "residual"))
    z = normal(2, 3, 4, 10)
    z[..., :6] = 0
    expected = (made.unpadded("template").unsqueeze(2) + z[..., 8:] @ made.unpadded("residual")) * z[
        ..., 6:7
    ].exp() + z[..., 7:8]
    assert torch.allclose(made(z), expected, atol=1e-5)


def test_rows_sorted_by_expert_are_drawn_alike():
    made = deformation()
    z = normal(2, 3, 5, made.active.shape[1])
    chosen = torch.tensor([[[2, 0, 0, 2, 2]], [[0, 0, 0, 0, 0]]])  # [R, 1, B]: one expert is never chosen
    dispatch = Dispatch.of(chosen, 3)
    rows = dispatch.rows(z.gather(1, chosen.unsqueeze(-1).expand(-1, -1, -1, z.shape[-1])))
    dense = made(z).gather(1, chosen.unsqueeze(-1).expand(-1, -1, -1, 108))
    assert torch.allclose(made.sparse(rows, dispatch.ends), dispatch.rows(dense))


def test_the_gradient_is_that_of_finite_differences():
    made = deformation(batch=(1, 2))
    z = (0.2 * normal(1, 2, 2, made.active.shape[1], seed=5)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: made(z), (z,), eps=1e-7, atol=1e-4)


def test_deformations_begin_in_turn():
    made = deformation(("affine", "displacement"))
    active = []
    for progress in (0.0, 0.2, 0.6):
        made.activate(progress, (0.1, 0.5))
        active.append([made.active[0, 0].item(), made.active[0, -1].item()])
    assert active == [[0, 0], [1, 0], [1, 1]]


def test_latents_of_later_deformations_keep_their_prior():
    run = config(DEFORMABLE | {"train.deformation_starts": (0.0, 0.9)})
    training = Trainer([run], images(), torch.device("cpu"))
    training.epoch()
    mu, logvar = training.model.experts.encode(images().train[None])
    place = training.model.experts.deformation.places["displacement"]
    assert not mu[..., place].any()
    assert not logvar[..., place].any()
    assert mu[..., :6].any()


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_bounds_are_in_their_order(likelihood):
    run = config(
        DEFORMABLE
        | {
            "model.deformations": EVERY,
            "model.likelihood": likelihood,
            "model.gaussian_std": 0.3,
            "evaluation.num_samples": 50,
            "evaluation.iwae_samples": 200,
        }
    )
    found = fit([run], images())
    metrics = evaluate(found.model, found.configs, images())[0].metrics
    assert metrics["mixture_elbo"] < metrics["iwae_bound"]
    assert math.isfinite(metrics["iwae_bound"])


RUNS = [
    override(
        config(
            DEFORMABLE
            | {
                "model.deformations": ("affine", "displacement", "thickness"),
                "train.deformation_starts": (0.0, 0.3, 0.5),
                "train.extra_experts": 3,
                "train.epochs": 4,
            }
        ),
        {"seed": seed},
    )
    for seed in range(2)
]


def test_a_run_has_the_same_bits_alone_and_in_a_population():
    together = fit(RUNS, images())
    for number, run in enumerate(RUNS):
        alone = fit([run], images())
        assert same(weights(together.model, number), weights(alone.model, 0))
        assert torch.equal(together.origins[number], alone.origins[0])


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_training_continues_bitwise_while_experts_are_pruned(epochs):
    whole = fit(RUNS, images())
    first = Trainer(RUNS, images(), torch.device("cpu"))
    for _ in range(epochs):
        first.epoch()
    second = Trainer(RUNS, images(), torch.device("cpu"))
    second.restore(*first.state())
    while not second.done:
        second.epoch()
    assert all(same(weights(second.model, run), weights(whole.model, run)) for run in range(2))
    assert torch.equal(second.origins, whole.origins)


@pytest.mark.parametrize("routing", ["soft", "hard", "gumbel", "sampled"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_routing_and_precision_trains_it(routing, precision):
    run = config(
        DEFORMABLE
        | {"objective.expert_weights": "gate", "routing.kind": routing, "train.precision": precision}
    )
    found = fit([run], images())
    assert found.failures == [None]
    assert found.model.experts.deformation.unpadded("template").isfinite().all()


def test_the_learned_deviation_is_that_of_the_residuals():
    """After enough steps with all else fixed, it is the root mean squared error of the weighted experts."""
    run = config(
        DEFORMABLE
        | {
            "train.epochs": 60,
            "train.learning_rate": 1e-6,
            "train.template_learning_rate": 1e-6,
            "train.batch_size": 96,
        }
    )
    found = fit([run], images())
    x = images().train
    mixture: Mixture = found.model
    noise = normal(1, 4, len(x) * 200, mixture.latent_size).float()
    recon, kl_z = mixture.experts.dense(x[None], noise)
    std = mixture.experts.log_std.exp().item()
    r = (recon - kl_z).softmax(1)
    error = (
        -2
        * std**2
        * ((r * recon).sum(1).mean().item() / x.shape[1] + math.log(std) + 0.5 * math.log(2 * math.pi))
    )
    assert math.sqrt(error) == pytest.approx(std, rel=0.02)


def blobs(count):
    """Lying (0) and standing (1) long blobs near the middle, and noise: images [N, D], kinds [N]."""
    source = np.random.default_rng(0)
    kinds, places = source.integers(2, size=count), source.uniform(-2, 2, (count, 2))
    y, x = np.mgrid[:12, :12] - 5.5
    wide = np.where(kinds == 1, 1.0, 3.0)[:, None, None]
    high = np.where(kinds == 1, 3.0, 1.0)[:, None, None]
    across, down = x - places[:, 0, None, None], y - places[:, 1, None, None]
    pixels = np.exp(-((across / wide) ** 2 + (down / high) ** 2) / 2) + source.normal(
        0, 0.05, (count, 12, 12)
    )
    return torch.tensor(pixels.reshape(count, -1), dtype=torch.float32), kinds


def test_each_expert_finds_a_kind_at_any_place():
    pixels, kinds = blobs(400)
    data = Images("blobs", "0" * 64, 12, 12, pixels[:300], pixels[:0], pixels[300:])
    changes = {"model.num_experts": 2, "model.deformations": ("affine",), "train.extra_experts": 2}
    run = config(DEFORMABLE | changes | {"train.epochs": 30, "train.deformation_starts": (0.1,)})
    found = fit([run], data)
    for assigned in (
        (each := evaluate(found.model, found.configs, data)[0]).posterior_assignments,
        each.assignments,
    ):
        right = np.mean(assigned == kinds[300:])
        assert max(right, 1 - right) > 0.95


def test_sizes_of_the_latent():
    model = ModelConfig(decoder="deformable", deformations=EVERY, displacement_grid=3, latent_dim=7)
    assert latent_sizes(model) == {
        "affine": 6,
        "displacement": 18,
        "intensity": 2,
        "thickness": 1,
        "residual": 7,
    }
    assert latent_size(model) == 34
    assert latent_size(ModelConfig(latent_dim=7)) == 7
