"""The start of a gate from a clustering, gates on gradients, and the smallest number of steps."""

import math

import pytest
import torch
from small import config, images

from moevae.config.overrides import override
from moevae.errors import ConfigError
from moevae.evaluation.assign import assign
from moevae.nn.gradients import histograms_of_gradients
from moevae.spectral import clusters
from moevae.spectral.clusters import cluster_images
from moevae.training.checks import check_population
from moevae.training.gate_start import STRENGTH, GateStart
from moevae.training.trainer import Trainer

CPU = torch.device("cpu")
RECIPE = {
    "model.gate_input": "gradients",
    "model.gate_normalization": "batch",
    "objective.consistency": ["vat", "iic"],
    "objective.expert_gradient": 0.0,
    "routing.kind": "sampled",
    "train.gate_start": "clustering",
    "train.gate_start_end": 0.5,
}


@pytest.fixture(autouse=True)
def _few_candidates(monkeypatch):
    monkeypatch.setattr(clusters, "CANDIDATES_EACH", 1)


def trained(configs, data, epochs=None):
    trainer = Trainer(configs, data, CPU)
    for _ in range(epochs or trainer.epochs):
        trainer.epoch()
    return trainer


def test_the_weight_of_the_clustering_falls_to_zero():
    start = GateStart([config(RECIPE)], images(), CPU)
    assert [start.weight(share) for share in (0.0, 0.25, 0.5, 0.9)] == [STRENGTH, STRENGTH / 2, 0.0, 0.0]
    assert GateStart([config()], images(), CPU).weight(0.0) == 0.0


def test_the_cost_is_the_cross_entropy_to_the_clusters_of_each_seed():
    runs, data = [config(RECIPE, seed=seed) for seed in (3, 4)], images()
    start = GateStart(runs, data, CPU)
    rows = torch.stack([torch.arange(20), torch.arange(20, 40)])
    log_probs = torch.randn(2, 4, 20, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    found = start.cost(log_probs, rows)
    for run, seed in enumerate((3, 4)):
        labels = torch.from_numpy(cluster_images(data.train, data.size, 4, seed).labels)[rows[run]]
        expected = torch.nn.functional.cross_entropy(log_probs[run].T, labels)
        torch.testing.assert_close(found[run], expected)


def test_the_gate_learns_the_clustering():
    changes = RECIPE | {"objective.consistency": [], "train.gate_start_end": 1.0, "train.min_steps": 200}
    run, data = config(changes | {"train.learning_rate": 0.01}), images(train=192)
    trainer = trained([run], data)
    labels = cluster_images(data.train, data.size, 4, run.seed).labels
    assert (assign(trainer.model, run, data.train).experts == labels).mean() > 0.95


@pytest.mark.parametrize("consistency", [["vat"], ["vat", "knn", "iic"]])
def test_runs_of_a_population_are_bit_for_bit_as_alone(consistency):
    runs = [config(RECIPE, seed=seed, **{"objective.consistency": consistency}) for seed in (0, 1, 5)]
    data = images()
    together = trained(runs, data).model
    for place, run in enumerate(runs):
        alone = trained([run], data).model.state_dict()
        for name, value in together.select_run(place).state_dict().items():
            assert torch.equal(value, alone[name]), name


def test_a_restored_training_continues_as_without_the_interruption():
    run, data = config(RECIPE), images()
    whole = trained([run], data)
    half = trained([run], data, epochs=1)
    again = Trainer([run], data, CPU)
    again.restore(*half.state())
    again.epoch()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_the_gate_answers_each_image_by_itself():
    run, data = config(RECIPE), images(test=300)
    model = trained([run], data).model
    answers = assign(model, run, data.test).gate_probs
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    assert (assign(model, run, data.test[order]).gate_probs == answers[order]).all()
    assert (assign(model, run, data.test[7:8]).gate_probs == answers[7:8]).all()
    read = model.gate_input(data.test[None], data.test[None])
    torch.testing.assert_close(read[0], histograms_of_gradients(data.test, data.size))
    assert torch.equal(model.gate_input(data.test[None], data.test.expand(1, -1, -1)), read)


@pytest.mark.parametrize(("least", "passes"), [(0, 1), (6, 1), (7, 2), (100, 17)])
def test_epochs_pass_several_times_over_few_images(least, passes):
    run, data = config({"train.min_steps": least}), images()
    batches = Trainer([run], data, CPU).batches
    assert batches.steps == 3 * passes
    seen = [batch.rows.flatten() for batch in batches.epoch()]
    assert len(seen) == 3 * passes
    for part in range(passes):
        once = torch.cat(seen[3 * part : 3 * part + 3])
        assert sorted(once.tolist()) == list(range(96))
    assert run.train.epochs * batches.steps >= least
    assert math.isclose(Trainer([run], data, CPU)._progress(run.train.epochs * batches.steps - 1), 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"model.gate_network": "conv"},
        {"objective.consistency": ["augmentation"]},
        {"objective.consistency": ["knn-stretch"]},
    ],
)
def test_gradient_inputs_exclude_changes_of_images(changes):
    with pytest.raises(ConfigError, match="gradients"):
        check_population([override(config({"model.gate_input": "gradients"}), changes)])


@pytest.mark.parametrize("size", [1, 2, 12])
def test_very_few_images_train_too(size):
    run = config(RECIPE | {"model.num_experts": 2, "model.gate_normalization": "none"})
    trained([run], images(train=size))
