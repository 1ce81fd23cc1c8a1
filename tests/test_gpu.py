"""On a CUDA device: the CPU's numbers to rounding, and in halves what is too large for its memory."""

import math
import warnings

import pytest
import torch
from commands import TINY, run_json
from small import EVEN, ODD, config, images, mixture, population, same, weights

from moevae.config.overrides import override
from moevae.config.presets import mnist
from moevae.data.datasets import Images
from moevae.evaluation.evaluate import evaluate
from moevae.training.fit import fit
from moevae.training.population import Population
from moevae.training.trainer import Trainer
from moevae.utils import devices
from studies.__main__ import main

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

CUDA = torch.device("cuda")
KINDS = ["soft", "hard", "gumbel", "sampled"]


@pytest.fixture
def short_of_memory():
    """A function that leaves this process so many bytes of the device's memory."""
    whole = torch.cuda.get_device_properties(CUDA).total_memory

    def leave(size):
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(size / whole)

    yield leave
    torch.cuda.set_per_process_memory_fraction(1.0)


def large(count):
    """Noise of MNIST's size."""
    pixels = torch.rand(count, 784, generator=torch.Generator().manual_seed(0))
    return Images("noise", "0" * 64, 28, 28, pixels, pixels[:0], pixels)


def taken(work):
    """The result of some work, and the most bytes of the device's memory that it takes."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return work(), torch.cuda.max_memory_reserved()


@pytest.mark.parametrize("sizes", [EVEN, ODD], ids=["even", "odd"])
def test_the_cpu_and_cuda_agree_in_the_loss(sizes):
    run, data = config(sizes | {"train.batch_size": 96}), images()
    here, there = (Trainer([run], data, torch.device(kind)) for kind in ("cpu", "cuda"))
    there.model.load_state_dict(here.model.state_dict())
    x, noise = (
        data.train[None].round(),
        here.loss.latent.normal(run.model.num_experts, 96, run.model.latent_dim),
    )
    expected = here.objective(here.model(x, noise, torch.ones(1)))
    found = there.objective(there.model(x.cuda(), noise.cuda(), torch.ones(1).cuda()))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_other_runs_change_rounding_at_most(kind):
    configs, data = population(EVEN, kind), images()
    together = fit(configs, data, device="cuda")
    for run, own in enumerate(configs):
        alone = weights(fit([own], data, device="cuda").model, 0)
        for name, value in weights(together.model, run).items():
            torch.testing.assert_close(alone[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_trainer_continues(kind):
    configs, data = population(ODD, kind, **{"train.epochs": 3}), images()
    whole, first, second = (Trainer(configs, data, CUDA) for _ in range(3))
    stats = [whole.epoch() for _ in range(3)]
    first.epoch()
    second.restore(*first.state())
    for expected in stats[1:]:
        assert second.epoch().losses == pytest.approx(expected.losses, rel=1e-4)


@pytest.fixture
def waits():
    """Have torch warn wherever this process waits for the device."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this mode is a prototype
        torch.cuda.set_sync_debug_mode("warn")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({}, 0),
        ({"routing.kind": "gumbel"}, 0),
        ({"routing.temperature_schedule": "cosine", "routing.final_temperature": 0.5}, 0),
        ({"train.precision": "bfloat16"}, 0),
        ({"model.variance_floor": 0.1, "objective.balancing": "sinkhorn"}, 0),
        ({"objective.consistency": ["vat"], "model.gate_normalization": "batch"}, 0),
        ({"routing.kind": "sampled"}, 1),  # how many images each expert was given
        ({"routing.kind": "sampled", "model.expert_network": "conv", "model.expert_hidden": (8, 16)}, 1),
    ],
    ids=str,
)
def test_a_step_does_not_wait_for_the_device(changes, most, request):
    """A wait lets the device idle until the next step's kernels are given to it."""
    training = Trainer([config(changes, seed=seed) for seed in range(2)], images(), CUDA)
    first, second, *_ = training.batches.epoch()
    training.step(0, first)
    request.getfixturevalue("waits")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        training.step(1, second)
    assert len(caught) <= most, [str(each.message) for each in caught]


def test_runs_that_do_not_fit_are_trained_in_halves(short_of_memory):
    base = override(mnist(), {"train.epochs": 2, "train.batch_size": 2048})
    runs, data = [override(base, {"seed": seed}) for seed in range(4)], large(4096)

    def trained(runs, chunk):
        whole = Population(runs, data, CUDA, chunk)
        return [whole.epoch().losses for _ in range(2)]

    trained(runs[:1], 1)  # the libraries take memory of their own
    expected, of_two = taken(lambda: trained(runs, 2))
    _, of_four = taken(lambda: trained(runs, 4))
    assert of_two < 0.8 * of_four
    short_of_memory(0.9 * of_four)
    with pytest.warns(UserWarning, match="4 runs do not fit in memory together; training 2"):
        found = trained(runs, None)
    for losses, others in zip(found, expected, strict=True):
        assert losses == pytest.approx(others, rel=1e-4)


def test_images_that_do_not_fit_are_evaluated_in_halves(short_of_memory):
    run, data = mnist(), large(8192)
    model = mixture(run, (28, 28)).float().to(CUDA)
    expected = evaluate(model, [run], data, chunk=128)[0].metrics
    _, at_once = taken(lambda: evaluate(model, [run], data, chunk=8192))
    short_of_memory(0.7 * at_once)
    with pytest.warns(UserWarning, match="8192 images do not fit in memory together; evaluating 4096"):
        found = evaluate(model, [run], data, chunk=8192)[0].metrics
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_energy_is_counted():
    before = devices.energy(CUDA)
    if before is None:
        pytest.skip("no counter of energy, or nvidia-ml-py is not installed")
    fit([config()], images(), device="cuda")
    assert math.isfinite(devices.energy(CUDA) - before)
    assert devices.energy(CUDA) >= before


def test_a_run_is_trained_and_measured_there(tmp_path, capsys):
    output = run_json(capsys, "train", *TINY, "--device", "cuda", "--seeds", "2", "--output", str(tmp_path))
    assert torch.cuda.get_device_name() in output["hardware"]["device_name"]
    for run in output["runs"]:
        (again,) = run_json(capsys, "evaluate", run["checkpoint"], "--device", "cpu")["runs"]
        found, expected = again["metrics"], run["scores"]["test"]["metrics"]
        assert found["kl_gate"] == pytest.approx(expected["kl_gate"], rel=1e-4)
        assert found["acc"] == pytest.approx(expected["acc"], abs=0.01)


PROFILE = """
name = "small"
title = "A study on a GPU"
preset = "digits"
design = "grid"
seeds = 2

[axes]
"routing.kind" = ["soft", "sampled"]
"""


def test_a_study_is_run_there(tmp_path):
    (tmp_path / "small.toml").write_text(PROFILE)
    command = ["ablate", "--profile", str(tmp_path / "small.toml"), "--results", str(tmp_path / "results")]
    assert main([*command, "--device", "cuda", *TINY]) == 0
    (page,) = (tmp_path / "results").glob("*/report.md")
    assert torch.cuda.get_device_name() in page.read_text()
    assert len(list(page.parent.glob("records/*.json"))) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"routing.kind": "hard", "train.precision": "bfloat16"},
        {"objective.consistency": ["vat"], "routing.temperature_schedule": "exponential"},
    ],
)
def test_a_cuda_graph_changes_no_number(changes):
    run = config(changes | {"train.epochs": 4})
    eager, graphed = (fit([run], images(), device="cuda", cuda_graph=graph) for graph in (False, True))
    assert same(weights(eager.model, 0), weights(graphed.model, 0))
