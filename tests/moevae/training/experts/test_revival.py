"""Starved experts become copies of the largest one; all others stay as they are, bit for bit."""

import pytest
import torch
from small import EVEN, ODD, config, images, mixture, normal, population, same, weights

from moevae.config.overrides import override
from moevae.config.presets import preset
from moevae.data.datasets import load_images
from moevae.errors import ConfigError
from moevae.evaluation.evaluate import evaluate
from moevae.models.mixture import select_experts
from moevae.training.experts import revival
from moevae.training.experts.revival import donors, revived_moments, revived_weights
from moevae.training.fit import fit
from moevae.training.population import Population
from studies.execution.config import ExecutionConfig
from studies.execution.run import run_population

KINDS = [
    {},
    {"model.encoder": "shared"},
    {"model.gate_normalization": "batch", "model.gate_hidden": (9,)},
    {"model.expert_network": "conv", "model.expert_hidden": (3,)},
    {"model.decoder": "deformable", "model.likelihood": "gaussian", "model.gate_network": "posterior"},
    {"model.likelihood": "autoregressive"},
]
CHOSEN = torch.tensor([[0, 1, 2, 1, 4], [0, 1, 2, 3, 4], [3, 3, 2, 3, 2]])


@pytest.mark.parametrize(
    ("load", "share", "expected"),
    [
        ([40, 30, 20, 10], 0.3, [0, 1, 2, 3]),
        ([60, 30, 10, 0], 0.3, [0, 1, 2, 0]),
        ([50, 40, 10, 0], 0.5, [0, 1, 1, 0]),  # after the first copy, expert 1 is the largest
        ([80, 20, 0, 0], 0.1, [0, 1, 0, 0]),
        ([90, 4, 3, 3], 0.5, [0, 0, 0, 0]),  # the donor of expert 1 is a copy itself
        ([0, 0, 0, 5], 1.0, [3, 3, 3, 3]),
        ([25, 25, 25, 25], 1.0, [0, 1, 2, 3]),
        ([0, 0, 0, 0], 0.5, [0, 1, 2, 3]),
        ([float("nan"), 1, 0, 0], 0.5, [0, 1, 2, 3]),
        ([97, 1, 1, 1], 0.0, [0, 1, 2, 3]),
    ],
)
def test_starved_experts_copy_the_largest(load, share, expected):
    whole = torch.tensor([load, [1.0] * 4, load])
    assert donors(whole, share).tolist() == [expected, [0, 1, 2, 3], expected]
    assert donors(7 * whole, share).tolist() == donors(whole, share).tolist()


@pytest.mark.parametrize("changes", KINDS)
def test_a_copy_answers_as_its_donor_and_the_others_do_not_change(changes, monkeypatch):
    monkeypatch.setattr(revival, "NOISE", 0.0)
    run = config({"model.num_experts": 5} | changes)
    model, x = mixture(run, seeds=(0, 1, 2)), images().train[None, :7].expand(3, -1, -1).double()
    noise = normal(3, 1, 7, model.latent_size).expand(-1, 5, -1, -1)
    before = [*model.experts.dense(x, noise), model.gate_logits(x)]
    model.load_state_dict(revived_weights(model, CHOSEN, "test"))
    after = [*model.experts.dense(x, noise), model.gate_logits(x)]
    for old, new in zip(before, after, strict=True):
        assert torch.allclose(new, old.gather(1, CHOSEN.unsqueeze(-1).expand(-1, -1, 7)), atol=1e-9)


@pytest.mark.parametrize("changes", KINDS)
def test_noise_moves_the_copies_only_by_a_few_percent(changes):
    run = config({"model.num_experts": 5} | changes)
    model = mixture(run, seeds=(0, 1, 2))
    plain = {name: value.clone() for name, value in model.state_dict().items()}
    found = revived_weights(model, CHOSEN, "test")
    assert same({n: v[1] for n, v in plain.items()}, {n: v[1] for n, v in found.items()})  # none is starved
    masks, moved = revival.masks(model, CHOSEN), 0
    assert masks
    for name, value in found.items():
        mask = masks.get(name, torch.zeros_like(value, dtype=torch.bool))
        assert torch.equal(value[~mask], plain[name][~mask]) or name == "gate.expert_bias"
        moved += int((value != plain[name]).sum())
        assert value.abs().max() <= 1.5 * plain[name].abs().max()
    assert moved
    twice = revived_weights(mixture(run, seeds=(0, 1, 2)), CHOSEN, "test")
    assert all(torch.equal(value, twice[name]) for name, value in found.items())


def test_a_copy_has_no_momentum_and_the_second_moment_of_its_donor():
    run = config({"model.num_experts": 5})
    model = mixture(run, seeds=(0, 1, 2))
    names = [name for name, _ in model.named_parameters()]
    values = {name: value.detach().abs() for name, value in model.named_parameters()}
    moments = {"exp_avg": values, "exp_avg_sq": dict(values), "step": dict.fromkeys(names, torch.tensor(3.0))}
    found = revived_moments(model, moments, CHOSEN)
    masks = revival.masks(model, CHOSEN)
    assert found["step"] == moments["step"]
    for name in names:
        mask = masks.get(name, torch.zeros_like(values[name], dtype=torch.bool))
        assert (found["exp_avg"][name][mask] == 0).all()
        assert torch.equal(found["exp_avg"][name][~mask], values[name][~mask])
    assert all(
        torch.equal(value, found["exp_avg_sq"][name])
        for name, value in select_experts(model, values, CHOSEN).items()
    )


COLLAPSING = EVEN | {"objective.balance_weight": 0.0, "routing.kind": "hard", "train.epochs": 6}


def revived_by_epoch(runs, **changes):
    curve = []
    found = fit(
        [override(run, changes) for run in runs], images(), on_epoch=lambda s: curve.append(s.revived)
    )
    return found, curve


def test_revival_follows_epochs_up_to_its_end_and_is_reported():
    runs = [config(COLLAPSING, seed=seed) for seed in range(2)]
    _, never = revived_by_epoch(runs)
    assert never == [[]] * 6
    _, some = revived_by_epoch(runs, **{"train.revival": 0.5})
    assert sum(map(sum, some[:3])) > 0
    assert some[3:] == [[0, 0]] * 3
    _, late = revived_by_epoch(runs, **{"train.revival": 0.5, "train.revival_end": 0.0})
    assert late == [[0, 0]] * 6


def test_without_starved_experts_nothing_changes():
    balanced = config(COLLAPSING | {"objective.balance_weight": 100.0, "routing.kind": "soft"})
    plain, _ = revived_by_epoch([balanced])
    asked, curve = revived_by_epoch([balanced], **{"train.revival": 0.1})
    assert not any(epoch[0] for epoch in curve)
    assert same(weights(plain.model, 0), weights(asked.model, 0))


@pytest.mark.parametrize(
    "changes",
    [
        {"train.revival": 0.9, "train.revival_end": 1.0},
        {"train.revival": 0.9, "train.extra_experts": 2, "routing.kind": "top-k", "routing.k": 2},
        {"train.revival": 0.9, "objective.expert_weights": "map"},
    ],
)
def test_other_runs_change_no_bit(changes):
    runs = [
        override(run, {"model.expert_prior": ()} | changes)
        for run in population(ODD | {"train.epochs": 3}, "soft", **{})
    ]
    together = fit(runs, images())
    for index, run in enumerate(runs):
        assert same(weights(together.model, index), weights(fit([run], images()).model, 0))


def test_dead_experts_are_revived():
    """Hard EM of networks starves experts; with revival, more of them are used, and the bound is higher."""
    changes = {
        "model.gate_network": "posterior",
        "model.gate_input": "target",
        "objective.expert_weights": "map",
        "objective.balance_weight": 0.0,
        "train.epochs": 14,
        "train.batch_size": 32,
        "data.train_size": 400,
    }
    base = override(preset("digits"), changes)
    data, found = load_images(base.data), []
    for share in (0.0, 0.3):
        run = override(base, {"train.revival": share, "train.revival_end": 0.7})
        found.append(evaluate(fit([run], data).model, [run], data, importance=False)[0].metrics)
    without, revived = found
    assert revived["effective_experts"] > without["effective_experts"] + 2
    assert revived["mixture_elbo"] > without["mixture_elbo"]


def test_a_record_contains_it_and_is_the_same_after_an_interruption(tmp_path):
    changes = {"train.revival": 0.9, "train.revival_end": 1.0, "train.epochs": 4, "data.train_size": 128}
    run = override(preset("digits"), changes | {"objective.balance_weight": 0.0})

    def stop(report):
        if report.epoch == 2:
            raise KeyboardInterrupt

    site = ExecutionConfig(snapshots=str(tmp_path), snapshot_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        run_population([run], site, stop)
    (resumed,) = run_population([run], site)
    (whole,) = run_population([run])
    assert resumed.record.metrics == whole.record.metrics
    by_epoch = whole.record.curve.metrics["revived_experts"]
    assert whole.record.metrics["test"]["revived_experts"] == sum(by_epoch) > 0
    assert resumed.record.curve == whole.record.curve
    (never,) = run_population([override(run, {"train.revival": 0.0})])
    assert "revived_experts" not in never.record.metrics["test"]


def test_a_run_that_prunes_and_revives_is_the_same_after_an_interruption():
    pruned = {"train.extra_experts": 2, "train.pruning_end": 0.4, "train.revival": 0.5, "train.epochs": 4}
    whole, first, second = (Population([config(pruned)], images(), torch.device("cpu")) for _ in range(3))
    for _ in range(2):
        first.epoch()
    second.restore(*first.state())
    for each in (whole, second):
        while not each.done:
            each.epoch()
    assert same(weights(whole.result().model, 0), weights(second.result().model, 0))


def test_a_prior_of_experts_is_refused():
    with pytest.raises(ConfigError, match=r"train\.revival.*model\.expert_prior"):
        config({"train.revival": 0.1, "model.expert_prior": (1, 2, 3, 4)})
