"""A memory budget is kept, changes no number, and is refused if too small."""

import re

import numpy as np
import pytest
import torch
from small import EVEN, ODD, config, images, mixture

from moevae.config import parsing
from moevae.config.overrides import override
from moevae.errors import ConfigError
from moevae.evaluation import evaluate as evaluation
from moevae.evaluation import memory as budget
from moevae.evaluation.evaluate import evaluate
from moevae.evaluation.iwae import iwae_bound
from moevae.evaluation.log_weights import BLOCK
from moevae.evaluation.marginal import marginal_bound
from moevae.training import memory as training_memory
from moevae.training.fit import fit
from moevae.utils.rng import RunGenerators

SIZE = (20, 24)
IWAE = {"evaluation.iwae_samples": 9, "model.expert_prior": (1, 2, 3, 4, 5, 6, 7)}
CONVOLUTIONS = {
    "model.expert_network": "conv",
    "model.gate_network": "conv",
    "model.expert_hidden": (8, 16),
    "model.gate_hidden": (8,),
}


def peak(work) -> int:
    """The most bytes held at once by tensors that were made while the work was done, by torch's own count."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        work()
    changes = [
        event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    return int(np.cumsum(changes).max())


@pytest.mark.parametrize("runs", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize(
    "changes",
    [
        ODD,
        EVEN | {"model.likelihood": "gaussian", "data.binarization": "none"},
        EVEN | {"model.expert_hidden": (900,), "model.encoder": "shared"},
        EVEN | {"model.num_experts": 1, "model.gate_hidden": (2000, 1000)},
        EVEN | {"model.latent_dim": 200, "evaluation.num_samples": 4},
        EVEN | CONVOLUTIONS,
        EVEN | {"model.latent_prior": "hierarchical", "model.expert_hidden": (300,)},
        EVEN | {"model.likelihood": "autoregressive"},
        EVEN | {"model.likelihood": "autoregressive", "model.pixel_network": "conv"},
        EVEN
        | {"model.likelihood": "autoregressive", "model.pixel_network": "made", "model.pixel_width": 999},
    ],
    ids=[
        "odd",
        "gaussian",
        "wide",
        "gate",
        "latents",
        "convolutions",
        "hierarchical",
        "window",
        "conv",
        "made",
    ],
)
def test_a_forward_pass_takes_no_more_memory_than_stated_and_not_much_less(changes, runs):
    own = config(changes)
    model = mixture(own, SIZE, tuple(range(runs))).float()
    configs = [override(own, {"seed": seed}) for seed in range(runs)]
    few, many = (
        peak(lambda count=count: evaluate(model, configs, noise(count), chunk=count, importance=False))
        for count in (BLOCK, 3 * BLOCK)
    )
    each = (many - few) / (2 * BLOCK) / runs  # memory that does not grow with images is not counted
    assert each < budget.image_bytes(own, SIZE) < 5 * each


def test_memory_does_not_grow_with_iwae_samples():
    own = config(EVEN)
    model, x = mixture(own, SIZE).float(), noise(BLOCK).test
    chosen, even = torch.zeros(1, 1, BLOCK, dtype=torch.int64), torch.zeros(1, 4)
    peaks = [
        peak(
            lambda count=count: iwae_bound(
                model.experts, x[None], chosen, even, RunGenerators([0], "test"), count, 2
            )
        )
        for count in (20, 80)
    ]
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize("changes", [ODD, EVEN | {"model.latent_dim": 200}, EVEN | CONVOLUTIONS])
@pytest.mark.parametrize("samples", [1, 4])
def test_iwae_samples_take_no_more_than_as_many_images(changes, samples):
    own = config(changes)
    experts = own.model.num_experts
    model, x = mixture(own, SIZE).float(), noise(BLOCK).test
    chosen = torch.arange(experts)[None, :, None].expand(1, experts, BLOCK)
    even, streams = torch.zeros(1, experts), RunGenerators([0], "test")
    found = peak(lambda: iwae_bound(model.experts, x[None], chosen, even, streams, samples, chunk=samples))
    assert found < samples * BLOCK * budget.image_bytes(own, SIZE)


@pytest.mark.parametrize("changes", [ODD, EVEN | {"model.latent_dim": 200}, EVEN | CONVOLUTIONS])
@pytest.mark.parametrize("blocks", [1, 4])
def test_marginal_samples_take_no_more_than_as_many_images(changes, blocks):
    own = config(changes)
    experts = own.model.num_experts
    model, x = mixture(own, SIZE).float(), noise(BLOCK).test
    even, streams = torch.zeros(experts), RunGenerators([0], "test")
    log_probs, room = even[:, None].expand(-1, BLOCK), blocks * BLOCK * experts
    found = peak(lambda: marginal_bound(model.experts, x, log_probs, even, streams, 9, room))
    assert found < blocks * BLOCK * budget.image_bytes(own, SIZE)


def test_many_samples_take_no_more_memory_than_some(monkeypatch):
    monkeypatch.setattr(evaluation, "SAMPLE_CHUNK", 4)
    monkeypatch.setattr(budget, "SAMPLE_CHUNK", 4)
    some, many = (config(ODD | {"evaluation.num_samples": samples}) for samples in (4, 24))
    model = mixture(some, SIZE).float()
    first, second = (
        peak(lambda own=own: evaluate(model, [own], noise(BLOCK), importance=False)) for own in (some, many)
    )
    assert second < 1.1 * first < 1.1 * BLOCK * budget.image_bytes(many, SIZE)


def noise(count):
    pixels = images(test=1)
    return type(pixels)("noise", "0" * 64, *SIZE, *(torch.rand(n, SIZE[0] * SIZE[1]) for n in (1, 1, count)))


@pytest.mark.parametrize("blocks", [1, 2, 3, 5, 100])
def test_a_budget_decides_no_number(blocks, monkeypatch):
    """Two runs, which are evaluated one after the other within a budget of one block."""
    own = config(ODD | IWAE)
    configs, data = [override(own, {"seed": seed}) for seed in (0, 1)], images(test=2 * BLOCK + 16)
    model = mixture(own, seeds=(0, 1)).float()
    whole = evaluate(model, configs, data)
    looked, forward = [], type(model).forward

    def watched(self, x, *rest):
        looked.append(x.shape[0] * x.shape[1])
        return forward(self, x, *rest)

    monkeypatch.setattr(type(model), "forward", watched)
    memory = blocks * BLOCK * budget.image_bytes(own, data.size)
    for expected, found in zip(whole, evaluate(model, configs, data, memory=memory), strict=True):
        assert found.metrics == pytest.approx(expected.metrics, rel=1e-6)
        assert np.array_equal(found.assignments, expected.assignments)
    assert max(looked) <= blocks * BLOCK
    assert len(looked) == {1: 6, 2: 3, 3: 3, 5: 2, 100: 1}[blocks]


def test_training_takes_at_least_what_is_counted_and_not_a_hundred_times_more():
    for changes in (ODD, EVEN | CONVOLUTIONS, EVEN | {"model.encoder": "shared"}):
        own = config(changes)
        data = noise(1)
        training = peak(lambda own=own, data=data: fit([own], data))
        assert training_memory.training_bytes(own, SIZE, len(data.train)) < training


@pytest.mark.parametrize(
    "changes",
    [{"model.num_experts": 10**9}, {"model.expert_hidden": (10**12,)}, {"train.num_samples": 10**9}],
)
def test_models_larger_than_memory_are_refused_before_allocation(changes):
    own = config(changes)
    with pytest.raises(ConfigError, match=r"\d GiB.*model\.num_experts") as caught:
        fit([own], images())
    assert "\n" not in str(caught.value)


def test_assignments_stay_with_their_runs():
    own = config(ODD)
    configs, data = [override(own, {"seed": seed}) for seed in (0, 1)], images(test=BLOCK + 5)
    model = mixture(own, seeds=(0, 1)).float()
    chosen = torch.stack([torch.arange(BLOCK + 5) % 7, torch.arange(BLOCK + 5) % 3])
    memory = BLOCK * budget.image_bytes(own, data.size)
    found = evaluate(model, configs, data, memory=memory, assignments=chosen)
    assert [run.assignments.tolist() for run in found] == chosen.tolist()


def test_an_insufficient_budget_is_refused_with_a_sufficient_one():
    own = config(ODD)
    with pytest.raises(ConfigError, match=rf"^1,000 bytes .*\b{BLOCK}\b") as caught:
        budget.images(1000, own, SIZE)
    (enough,) = re.findall(r"\d+MiB", str(caught.value))
    assert budget.images(parsing.parse_memory(enough), own, SIZE) >= BLOCK


@pytest.mark.parametrize(
    ("typed", "number"), [("2GiB", 2 << 30), ("512MiB", 512 << 20), ("1.5 kB", 1500), ("7", 7), (None, None)]
)
def test_sizes_have_decimal_and_binary_units(typed, number):
    assert parsing.parse_memory(typed) == number


@pytest.mark.parametrize("typed", ["", "much", "-1GiB", "2 apples", "nan"])
def test_invalid_sizes_are_refused(typed):
    with pytest.raises(ConfigError, match=f"^--memory '{typed}': "):
        parsing.parse_memory(typed)
