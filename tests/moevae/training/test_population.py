"""Populations in chunks: the same bits for any chunk size, and halves if memory is too small."""

import re

import pytest
import torch
from small import ODD, config, images, same, weights

from moevae.config.overrides import override
from moevae.config.presets import digits, mnist
from moevae.errors import ConfigError
from moevae.training.fit import fit
from moevae.training.population import Population, automatic_chunk
from moevae.training.trainer import Trainer

CPU = torch.device("cpu")
SHAPE = ODD | {"train.epochs": 3, "model.gate_normalization": "batch"}
RUNS = [config(SHAPE | {"objective.balance_weight": 4.0 * seed}, seed=seed) for seed in range(5)]
DATA = images()


def trained(population, epochs=None):
    """Every epoch's progress; the model is that of the last."""
    stats = []
    while not population.done and len(stats) != epochs:
        stats.append(population.epoch())
    return stats


def numbers(stats):
    return [(each.epoch, each.epochs, each.losses, each.temperatures, each.failures) for each in stats]


@pytest.fixture(scope="module")
def together():
    training = Trainer(RUNS, DATA, CPU)
    return trained(training), training


def agree(population, stats, together):
    expected, training = together
    assert numbers(stats) == numbers(expected)
    assert all(
        same(weights(population.result().model, run), weights(training.model, run)) for run in range(5)
    )


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 8, None])
def test_the_chunk_changes_no_bit(chunk, together):
    population = Population(RUNS, DATA, CPU, chunk)
    agree(population, trained(population), together)
    assert len(population.parts) == -(-5 // (chunk or 5))


def test_a_population_continues_with_another_chunk_size(together):
    first = Population(RUNS, DATA, CPU, 2)
    stats = trained(first, epochs=1)
    for chunk in (5, 3):
        state = first.state()
        first = Population(RUNS, DATA, CPU, chunk)
        first.restore(*state)
        stats += trained(first, epochs=1)
    agree(first, stats, together)
    tensors, plain = first.state()
    expected, others = together[1].state()
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert plain | {"seconds": 0} == others | {"seconds": 0}


@pytest.mark.parametrize("when", [0, 1, 5, 7])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_halves_are_trained_where_memory_is_short(most, when, monkeypatch, together):
    """Memory runs out in the first step, in a later one, in another epoch, and in a part that is a half."""
    step, steps = Trainer.step, iter(range(1000))

    def short_of_memory(training, *batch):
        if next(steps) >= when and len(training.configs) > most:
            raise torch.OutOfMemoryError("fake")
        return step(training, *batch)

    monkeypatch.setattr(Trainer, "step", short_of_memory)
    population = Population(RUNS, DATA, CPU, 5)
    with pytest.warns(UserWarning, match=r"^\d runs ") as warned:
        stats = trained(population)
    assert re.findall(r"\d+", str(warned[0].message)) == ["5", "3"]
    assert max(len(part.configs) for part in population.parts) <= most
    agree(population, stats, together)


def test_one_run_that_does_not_fit_is_reported(monkeypatch):
    def never(training, *batch):
        raise torch.OutOfMemoryError("fake")

    monkeypatch.setattr(Trainer, "step", never)
    with pytest.raises(torch.OutOfMemoryError):
        Population(RUNS[:1], DATA, CPU).epoch()


def test_a_run_that_failed_leaves_the_others_their_numbers(together):
    runs = [*RUNS[:4], override(RUNS[4], {"routing.temperature": 1e-300})]
    population = Population(runs, DATA, CPU, 2)
    stats = trained(population)
    expected = fit(runs, DATA)
    assert [each.epoch for each in stats] == [1, 2, 3]
    assert stats[-1].failures == population.result().failures == expected.failures
    assert [each.losses[:4] for each in stats] == [each.losses[:4] for each in together[0]]
    tensors, plain = population.state()
    again = Population(runs, DATA, CPU, 3)
    again.restore(tensors, plain)
    assert again.done
    assert again.result().failures == expected.failures


def test_a_part_that_failed_has_as_many_experts_as_the_others():
    runs = [override(run, {"train.extra_experts": 2}) for run in RUNS[:2]]
    runs.append(override(RUNS[4], {"train.extra_experts": 2, "routing.temperature": 1e-300}))
    population = Population(runs, DATA, CPU, 1)
    trained(population)
    found, expected = population.result(), fit(runs, DATA)
    assert found.failures == expected.failures
    assert found.failures[2] is not None
    for run in range(2):
        assert same(weights(found.model, run), weights(expected.model, run))
    Population(runs, DATA, CPU, 1).restore(*population.state())


def test_speed_counts_every_run():
    population = Population(RUNS, DATA, CPU, 2)
    trained(population)
    found = population.result()
    assert found.seconds == pytest.approx(sum(part.seconds for part in population.parts))
    assert found.images_per_second * found.seconds == pytest.approx(5 * 3 * 96)


def test_small_runs_train_together_and_large_ones_do_not():
    small, large = ([override(base, {"seed": seed}) for seed in range(20)] for base in (digits(), mnist()))
    assert automatic_chunk(small, 64, CPU) == 20
    assert 1 <= automatic_chunk(large, 784, CPU) <= 4
    assert automatic_chunk([override(run, {"train.batch_size": 2048}) for run in large], 784, CPU) == 1
    assert automatic_chunk(large, 784, torch.device("cuda")) == 20


def test_runs_of_different_shapes_are_refused():
    with pytest.raises(ConfigError, match="may differ"):
        Population([RUNS[0], config()], DATA, CPU, 1)
    with pytest.raises(ConfigError, match="at least one"):
        Population([], DATA, CPU)
