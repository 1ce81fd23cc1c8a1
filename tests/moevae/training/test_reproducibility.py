"""Bitwise reproducibility: alone or in a population, in any order, resumed, and in a new process."""

import subprocess
import sys

import pytest
import torch
from small import EVEN, ODD, config, images, population, same, weights

from moevae.config.overrides import override
from moevae.config.presets import mnist
from moevae.data.datasets import Images
from moevae.evaluation.evaluate import evaluate
from moevae.training.fit import fit
from moevae.training.trainer import Trainer

CPU = torch.device("cpu")
SIZES = pytest.mark.parametrize("sizes", [EVEN, ODD], ids=["even", "odd"])


@SIZES
@pytest.mark.parametrize("kind", ["soft", "hard", "gumbel", "sampled", "top-k"])
@pytest.mark.parametrize(
    ("batch", "threads"),
    [(48, 2), *(pytest.param(*rest, marks=pytest.mark.slow) for rest in [(16, 1), (16, 2), (48, 1)])],
)
def test_other_runs_change_no_bit(sizes, kind, batch, threads, one_thread_again):
    torch.set_num_threads(threads)
    changes = {"train.batch_size": batch, "routing.num_sampled": 2, "routing.noise": 0.5}
    configs, data = population(sizes, kind, **changes), images(train=320)
    losses = []
    together = fit(configs, data, on_epoch=lambda progress: losses.append(progress.losses))
    for run, own in enumerate(configs):
        curve = []
        alone = fit([own], data, on_epoch=lambda progress, curve=curve: curve.append(progress.losses[0]))
        assert same(weights(alone.model, 0), weights(together.model, run))
        assert curve == [epoch[run] for epoch in losses]


@pytest.mark.parametrize("kind", ["hard", "sampled"])
def test_other_runs_change_no_bit_with_more_pixels_than_are_computed_at_once(kind):
    changes = {"train.batch_size": 130, "train.epochs": 1, "routing.num_sampled": 2}
    configs, data = population(EVEN, kind, **changes), images(train=260, size=(28, 28))
    together = fit(configs, data)
    for run, own in enumerate(configs):
        assert same(weights(fit([own], data).model, 0), weights(together.model, run))


@SIZES
@pytest.mark.parametrize(
    "consistency", [["vat"], ["augmentation"], ["vat", "augmentation"], ["vat", "knn-stretch"]]
)
def test_other_runs_change_no_bit_of_consistent_gates(sizes, consistency):
    smooth = {"objective.consistency": consistency, "model.gate_normalization": "batch"}
    configs, data = population(sizes, "sampled", **smooth, **{"train.batch_size": 16}), images()
    together = fit(configs, data)
    for run, own in enumerate(configs):
        assert same(weights(fit([own], data).model, 0), weights(together.model, run))


@SIZES
@pytest.mark.parametrize("activation", ["gelu", "silu", "leaky-relu"])
def test_other_runs_change_no_bit_of_any_activation(sizes, activation):
    configs, data = population(sizes, **{"model.activation": activation, "train.batch_size": 16}), images()
    together = fit(configs, data)
    for run, own in enumerate(configs):
        assert same(weights(fit([own], data).model, 0), weights(together.model, run))


@SIZES
@pytest.mark.parametrize("network", ["window", "conv", "made"])
@pytest.mark.parametrize(
    ("layers", "kind"),
    [
        ("separate", "sampled"),
        ("shared", "soft"),
        pytest.param("separate", "soft", marks=pytest.mark.slow),
        pytest.param("shared", "sampled", marks=pytest.mark.slow),
    ],
)
def test_other_runs_change_no_bit_where_pixels_depend_on_pixels(sizes, kind, network, layers):
    changes = {"model.likelihood": "autoregressive", "train.batch_size": 16, "train.num_samples": 2}
    changes |= {"model.pixel_network": network, "model.pixel_layers": layers, "model.pixel_width": 7}
    configs, data = population(sizes, kind, **changes), images()
    together = fit(configs, data)
    for run, own in enumerate(configs):
        assert same(weights(fit([own], data).model, 0), weights(together.model, run))


@pytest.mark.parametrize("kind", ["soft", "sampled"])
def test_other_runs_change_no_bit_of_the_losses_of_gates(kind):
    configs, data = population(ODD, kind, **{"train.batch_size": 16}), images()
    assert {config.objective.expert_gradient for config in configs} == {0.0, 0.3, 1.0}
    gate_losses = []
    fit(configs, data, on_epoch=lambda progress: gate_losses.append(progress.gate_losses))
    for run, own in enumerate(configs):
        curve = []
        fit([own], data, on_epoch=lambda progress, curve=curve: curve.append(progress.gate_losses[0]))
        assert curve == [epoch[run] for epoch in gate_losses]


LEARNING = pytest.mark.parametrize(
    ("kind", "schedule", "balancing"),
    [
        ("soft", "learned", "sinkhorn"),
        ("gumbel", "learned", "loss-free"),
        ("sampled", "learned", "importance-cv2"),
        ("hard", "exponential", "loss-free"),
        ("soft", "exponential", "switch"),
    ],
)


@SIZES
@LEARNING
def test_other_runs_change_no_bit_of_what_gates_learn_besides_weights(sizes, kind, schedule, balancing):
    changes = {"train.batch_size": 16, "objective.balancing": balancing}
    configs, data = population(sizes, kind, schedule, **changes), images()
    together = fit(configs, data)
    for run, own in enumerate(configs):
        assert same(weights(fit([own], data).model, 0), weights(together.model, run))


@LEARNING
def test_a_restored_training_continues_bit_for_bit(kind, schedule, balancing):
    changes = {"objective.balancing": balancing, "train.epochs": 4}
    configs, data = population(ODD, kind, schedule, **changes), images()
    whole, half, rest = (Trainer(configs, data, CPU) for _ in range(3))
    for _ in range(2):
        half.epoch()
    rest.restore(*half.state())
    through = [whole.epoch().temperatures for _ in range(4)]
    assert [rest.epoch().temperatures for _ in range(2)] == through[2:]
    for run in range(3):
        assert same(weights(whole.model, run), weights(rest.model, run))


def test_other_runs_change_no_bit_at_mnists_sizes_on_two_threads(one_thread_again):
    """Fails without MKL_CBWR=AUTO,STRICT, which must be set before torch loads its libraries."""
    torch.set_num_threads(2)
    runs = [override(mnist(), {"train.epochs": 1, "train.batch_size": 128, "seed": seed}) for seed in (0, 1)]
    pixels = torch.rand(256, 784, generator=torch.Generator().manual_seed(0))
    data = Images("noise", "0" * 64, 28, 28, pixels, pixels[:0], pixels[:0])
    assert same(weights(fit(runs, data).model, 1), weights(fit(runs[1:], data).model, 0))


@SIZES
@pytest.mark.parametrize("batch", [5, 13, 37])
def test_other_runs_change_rounding_at_most_where_batches_are_odd(sizes, batch):
    configs, data = population(sizes, **{"train.batch_size": batch}), images()
    together = fit(configs, data)
    for run, own in enumerate(configs):
        alone, joint = weights(fit([own], data).model, 0), weights(together.model, run)
        for name, value in joint.items():
            torch.testing.assert_close(alone[name], value, rtol=1e-5, atol=1e-6)


@SIZES
@pytest.mark.parametrize("kind", ["soft", "sampled"])
def test_other_runs_change_rounding_at_most_in_bfloat16(sizes, kind):
    """oneDNN rounds small products by how many there are."""
    changes = {"train.batch_size": 16, "train.precision": "bfloat16"}
    configs, data, curves = population(sizes, kind, **changes), images(), []
    fit(configs, data, on_epoch=lambda progress: curves.append(progress.losses))
    for run, own in enumerate(configs):
        alone = []
        fit([own], data, on_epoch=lambda progress, alone=alone: alone.append(progress.losses[0]))
        assert alone == pytest.approx([losses[run] for losses in curves], rel=5e-3)


def test_no_two_runs_and_no_two_purposes_share_a_stream():
    training = Trainer(population(EVEN), images(), CPU)
    streams = tuple(training.streams().values())
    starts = [each.initial_seed() for stream in streams for each in stream.generators]
    assert len(set(starts)) == len(starts) == len(training.configs) * len(streams) == 21


def test_the_order_of_runs_does_not_matter():
    configs, data = population(ODD), images()
    forth, back = fit(configs, data), fit(configs[::-1], data)
    assert all(same(weights(forth.model, run), weights(back.model, 2 - run)) for run in range(3))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    run, data = config(), images()
    first, again, other = (fit([each], data).model for each in (run, run, override(run, {"seed": 1})))
    assert same(weights(first, 0), weights(again, 0))
    assert not same(weights(first, 0), weights(other, 0))


FRESH = """
import sys
from small import ODD, config, images
from moevae.evaluation.evaluate import evaluate
from moevae.training.fit import fit
runs = [config(ODD, seed=seed) for seed in map(int, sys.argv[1:])]
print(evaluate(fit(runs, images()).model, runs, images())[0].metrics)
print("torch._dynamo" in sys.modules)
"""


def test_a_fresh_process_gives_the_same_metrics_and_loads_no_compiler(pytestconfig):
    runs, folder = [config(ODD, seed=seed) for seed in (5, 6)], pytestconfig.rootpath / "tests" / "support"
    here = evaluate(fit(runs, images()).model, runs, images())[0].metrics
    code = f"import moevae{FRESH}"
    result = subprocess.run(
        [sys.executable, "-c", code, "5", "9"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == [str(here), "False"]
