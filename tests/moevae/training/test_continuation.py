"""Continuing a run: it starts from the weights, records this in its configuration, or refuses."""

from dataclasses import replace

import pytest
import torch
from small import config, images, same, weights

from moevae.config.overrides import fingerprint, override
from moevae.errors import ConfigError
from moevae.training import fit as training
from moevae.training.continuation import continued, weights_digest
from moevae.training.population import Population
from moevae.training.trainer import Trainer


@pytest.fixture(scope="module")
def first():
    return training.fit([config()], images())


def test_a_continued_run_starts_from_the_weights_and_trains_them(first):
    more = continued(first.configs[0], first.model, 1)
    trainer = Trainer([more], images(), torch.device("cpu"), start=first.model)
    assert same(weights(trainer.model, 0), weights(first.model, 0))
    trainer.epoch()
    assert not same(weights(trainer.model, 0), weights(first.model, 0))
    assert same(weights(first.model, 0), weights(training.fit([config()], images()).model, 0))  # untouched


def test_the_configuration_determines_the_numbers(first):
    one = training.fit([first.configs[0]], images(), start=first.model)
    two = training.fit([one.configs[0]], images(), start=first.model)
    assert one.configs == two.configs
    assert one.configs[0].train.start == weights_digest(first.model)
    assert fingerprint(one.configs[0]) != fingerprint(first.configs[0])
    assert same(weights(one.model, 0), weights(two.model, 0))
    other = training.fit([first.configs[0]], images(), start=one.model)
    assert other.configs != one.configs


def test_runs_that_share_a_start_train_as_they_would_alone(first):
    configs = [continued(replace(first.configs[0], seed=seed), first.model, 1) for seed in (0, 1, 2)]
    together = training.train(Population(configs, images(), torch.device("cpu"), 2, first.model))
    for run, each in enumerate(configs):
        alone = training.fit([each], images(), start=first.model)
        assert same(weights(together.model, run), weights(alone.model, 0))


def test_schedules_stay_where_they_ended(first):
    warm = override(
        first.configs[0],
        {
            "routing.temperature_schedule": "exponential",
            "routing.temperature": 5.0,
            "routing.final_temperature": 0.5,
            "train.learning_rate_schedule": "cosine",
            "train.learning_rate": 0.1,
            "train.final_learning_rate": 0.02,
            "train.template_learning_rate": 0.5,
            "train.extra_experts": 2,
            "train.kl_warmup": 0.5,
            "train.gate_start": "clustering",
            "train.revival": 0.1,
            "train.min_steps": 10,
        },
    )
    more = continued(warm, first.model, 7)
    assert (more.routing.temperature_schedule, more.routing.temperature) == ("constant", 0.5)
    assert (more.train.learning_rate_schedule, more.train.learning_rate) == ("constant", 0.02)
    assert more.train.template_learning_rate == pytest.approx(0.1)
    assert (more.train.epochs, more.train.extra_experts) == (7, 0)
    assert (more.train.kl_warmup, more.train.gate_start) == (0.0, "none")
    assert (more.train.revival, more.train.min_steps) == (type(more.train)().revival, 35)  # of 2 epochs, 10
    assert replace(more, routing=warm.routing, train=warm.train) == warm


def test_a_learned_temperature_continues():
    learned = config({"routing.temperature_schedule": "learned", "routing.temperature": 3.0})
    trained = training.fit([learned], images())
    more = Trainer([continued(learned, trained.model, 1)], images(), torch.device("cpu"), start=trained.model)
    assert torch.equal(more.model.gate.temperature, trained.model.gate.temperature)
    assert more.model.gate.temperature.item() != pytest.approx(3.0, abs=1e-9)


def test_a_run_continues_only_with_its_own_architecture_size_and_weights(first):
    more, cpu = continued(first.configs[0], first.model, 1), torch.device("cpu")
    wider = override(more, {"model.latent_dim": 9})
    with pytest.raises(ConfigError, match=r"model.latent_dim = 4, not 9"):
        Trainer([wider], images(), cpu, start=first.model)
    with pytest.raises(ConfigError, match=r"5 x 6.*6 x 5"):
        Trainer([more], replace(images(), height=6, width=5), cpu, start=first.model)
    with pytest.raises(ConfigError, match=r"^train\.start = (?!empty)"):
        training.fit([more], images())
    with pytest.raises(ConfigError, match=r"train\.start = empty"):
        Trainer([config()], images(), cpu, start=first.model)
    with pytest.raises(ConfigError, match=r"\b2 runs\b"):
        training.fit([config()], images(), start=training.fit([config(), config(seed=1)], images()).model)
    with pytest.raises(ConfigError, match=r"train\.extra_experts = 0"):
        Trainer([override(more, {"train.extra_experts": 1})], images(), cpu, start=first.model)
