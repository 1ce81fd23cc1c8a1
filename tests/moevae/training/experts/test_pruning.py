"""Extra experts are pruned in the order of their value; the others do not change."""

import itertools
from dataclasses import replace

import pytest
import torch
from small import config, images, mixture, normal

from moevae.config.overrides import override
from moevae.config.presets import preset
from moevae.training import trainer
from moevae.training.experts import pruning
from moevae.training.experts.pruning import kept_experts, scheduled_experts
from moevae.training.fit import fit
from studies.execution.config import ExecutionConfig
from studies.execution.run import run_population


def test_the_schedule_ends_at_the_number_asked_for():
    run = config({"train.extra_experts": 10, "train.pruning_start": 0.2, "train.pruning_end": 0.7})
    counts = [scheduled_experts(run, epoch / 20) for epoch in range(21)]
    assert counts[:5] == [14] * 5
    assert counts[14:] == [4] * 7
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_schedule_of_length_zero_prunes_at_once(share):
    run = config({"train.extra_experts": 3, "train.pruning_start": share, "train.pruning_end": share})
    assert [scheduled_experts(run, share - 0.01), scheduled_experts(run, share)] == [7, 4]


def test_the_least_valuable_expert_is_pruned():
    """By brute force: of all sets with one expert less, the one whose marginal bound is highest."""
    model = mixture(config({"model.num_experts": 5}), seeds=(0, 1))
    x = images().train[:40].double()
    noise = x.new_zeros(2, 5, len(x), model.latent_size)
    recon, kl_z = model.experts.dense(x.expand(2, -1, -1), noise)
    for run, bounds in enumerate(recon - kl_z):
        best = max(
            itertools.combinations(range(5), 4), key=lambda kept: bounds[list(kept)].logsumexp(0).mean()
        )
        assert kept_experts(model, x, 4)[run].tolist() == list(best)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model.encoder": "shared"},
        {"model.expert_network": "conv", "model.expert_hidden": (3,)},
        {"model.decoder": "deformable", "model.likelihood": "gaussian"},
        {"model.likelihood": "autoregressive"},
    ],
)
def test_the_experts_that_are_kept_do_not_change(changes):
    model = mixture(config({"model.num_experts": 5} | changes), seeds=(0, 1))
    kept = torch.tensor([[3, 0, 4], [1, 2, 3]])
    fewer, x = model.keep_experts(kept), images().train[None, :7].expand(2, -1, -1).double()
    noise = normal(2, 5, 7, model.latent_size)
    there = kept[..., None, None].expand(-1, -1, 7, noise.shape[-1])
    both = zip(model.experts.dense(x, noise), fewer.experts.dense(x, noise.gather(1, there)), strict=True)
    for before, after in both:
        assert torch.allclose(before.gather(1, kept.unsqueeze(-1).expand(-1, -1, 7)), after)
    logits = model.gate(x).gather(1, kept.unsqueeze(-1).expand(-1, -1, 7))
    assert torch.allclose(logits, fewer.gate(x))


def test_a_record_is_the_same_after_an_interruption(tmp_path):
    changes = {"model.num_experts": 3, "train.extra_experts": 2, "train.epochs": 4, "data.train_size": 128}
    run = override(preset("digits"), changes)

    def stop(report):
        if report.epoch == 3:
            raise KeyboardInterrupt

    site = ExecutionConfig(snapshots=str(tmp_path), snapshot_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        run_population([run], site, stop)
    assert list(tmp_path.glob("*.snapshot"))
    reports = []
    (resumed,) = run_population([run], site, reports.append)
    (whole,) = run_population([run])
    assert [report.epoch for report in reports] == [3, 4]
    assert resumed.record.metrics == whole.record.metrics
    assert resumed.files == whole.files


@pytest.mark.parametrize("shuffled", [False, True])
def test_images_that_decide_represent_the_data_in_any_order(shuffled, monkeypatch):
    """Images in the order of their classes, as a user may give them, are not decided by the first class."""
    seen = []

    def noted(model, images, count):
        seen.append(images)
        return kept_experts(model, images, count)

    monkeypatch.setattr(pruning, "IMAGES", 24)
    monkeypatch.setattr(trainer, "kept_experts", noted)
    data = images()
    order = data.train.sum(1).argsort()
    fit([config({"train.extra_experts": 1})], replace(data, train=data.train[order], shuffled=shuffled))
    ranks = torch.cdist(seen[0], data.train[order]).argmin(1)
    assert len(seen[0]) == 24
    assert (ranks.max() == 23) == shuffled
    assert (ranks.float().mean() > 30) != shuffled


def test_training_ends_with_the_number_asked_for():
    found = fit([config({"train.extra_experts": 2, "train.epochs": 3})], images())
    assert found.model.config.num_experts == 4
    assert len(set(found.origins[0].tolist())) == 4
    assert found.origins.max() < 6
