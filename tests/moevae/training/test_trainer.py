"""Training: results, progress, independence of labels and of failures of other runs."""

import inspect
import re
from dataclasses import fields, replace

import pytest
import torch
from small import EVEN, ODD, config, images, population, same, weights

from moevae.config.overrides import override
from moevae.config.presets import digits
from moevae.data.datasets import Images, load_images
from moevae.errors import ConfigError
from moevae.evaluation.evaluate import evaluate
from moevae.training.batches import Batches
from moevae.training.fit import fit
from moevae.training.trainer import Trainer
from moevae.utils.rng import RunGenerators

CPU = torch.device("cpu")


@pytest.mark.parametrize("steer", [0.0, 1.0])
def test_the_gate_loss_depends_on_experts_only_with_expert_gradient(steer):
    curves = {"losses": [], "gate_losses": []}
    for width in (8, 12):
        own = {"objective.consistency": ["augmentation"], "objective.information_weight": -0.1}
        run = config(own | {"objective.expert_gradient": steer, "model.expert_hidden": (width,)})
        progress = []
        fit([run], images(), on_epoch=progress.append)
        for name, found in curves.items():
            found.append([getattr(each, name)[0] for each in progress])
    assert curves["losses"][0] != curves["losses"][1]
    assert (curves["gate_losses"][0] == curves["gate_losses"][1]) != bool(steer)
    if steer:
        assert curves["gate_losses"] == curves["losses"]


def test_the_gate_loss_excludes_the_cost_of_experts():
    """The negative bound of one expert, for any gate: its weight is one, and the gate has no influence."""
    run = config({"model.num_experts": 1, "objective.expert_gradient": 0.0, "train.epochs": 1})
    training = Trainer([run], images(), torch.device("cpu"))
    batch = next(training.batches.epoch())
    losses = training.step(0, batch)
    assert float(losses.total) > 1
    torch.testing.assert_close(losses.gate, torch.zeros(1), rtol=0, atol=1e-6)


def test_each_run_learns_a_temperature_of_its_own():
    runs, stats = population(EVEN, schedule="learned", **{"train.epochs": 3}), []
    training = Trainer(runs, images(), CPU)
    starts = training.model.gate.temperature.tolist()
    assert starts == pytest.approx([1.0, 0.5, 5.0])
    found = fit(runs, images(), on_epoch=lambda progress: stats.append(progress.temperatures))
    ends = [evaluation.metrics["temperature"] for evaluation in evaluate(found.model, runs, images())]
    assert ends == stats[-1]
    assert all(abs(end / start - 1) > 1e-3 for start, end in zip(starts, ends, strict=True))
    padding = found.model.gate._log_temperature[:, 1:]
    assert not padding.any()


def test_a_scheduled_temperature_is_not_learned():
    found = fit(population(EVEN), images()).model.gate
    assert found.temperature.tolist() == pytest.approx([1.0, 0.5, 5.0])


def test_the_loss_falls_along_the_temperatures_gradient():
    """Against a difference of losses: the gradient is of the temperature that the gate answers at."""
    run = config({"routing.temperature_schedule": "learned", "routing.temperature": 0.7}, objective="elbo")
    training = Trainer([run], images(), CPU)
    training.model.double()
    x = images().train[None, :32].round().double()
    noise = torch.randn(1, 4, 32, 4, generator=torch.Generator().manual_seed(0)).double()
    gate = training.model.gate

    def loss():
        return training.objective(training.model(x, noise, gate.temperature)).sum()

    loss().backward()
    slope = gate._log_temperature.grad[0, 0].item()
    with torch.no_grad():
        gate._log_temperature[0, 0] += 1e-5
        above = loss().item()
        gate._log_temperature[0, 0] -= 2e-5
        below = loss().item()
    assert slope == pytest.approx((above - below) / 2e-5, rel=1e-4)
    assert abs(slope) > 1e-3


def test_loss_free_balancing_moves_the_bias_alone_by_its_speed():
    changes = {"objective.balancing": "loss-free", "objective.information_weight": 0.0}
    runs = [
        config(changes | {"objective.balance_weight": weight, "train.epochs": 1}) for weight in (0.0, 20.0)
    ]
    found = fit(runs, images()).model.gate.expert_bias
    assert not found[0].any()
    steps = found[1].div(0.02)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    assert 0 < steps.abs().max().round() <= 3  # 96 images in batches of 32
    none = fit([override(runs[0], {"objective.balancing": "none"})], images())
    assert same(weights(none.model, 0), weights(fit([runs[0]], images()).model, 0))


def test_loss_free_balancing_revives_experts():
    """A gate whose biases favor one expert by far, and that cannot learn."""
    run = config({"objective.balancing": "loss-free", "objective.balance_weight": 200.0, "train.epochs": 40})
    run = override(run, {"train.learning_rate": 1e-9, "routing.kind": "hard"})
    training, data = Trainer([run], images(), CPU), images()
    with torch.no_grad():
        training.model.gate.network.layers[-1].unpadded("bias")[0, 0] += 5
    before = evaluate(training.model, [run], data, "train")[0].metrics["effective_experts"]
    while not training.done:
        training.epoch()
    after = evaluate(training.model, [run], data, "train")[0].metrics["effective_experts"]
    assert before == pytest.approx(1)
    assert after > 2


def test_a_run_is_given_no_labels_and_reads_the_training_split_alone():
    assert {field.name for field in fields(Images)}.isdisjoint({"labels", "classes", "targets"})
    assert "labels" not in inspect.signature(fit).parameters
    run, data = config(), images()
    missing = torch.full((5, data.train.shape[1]), torch.nan)
    poisoned = replace(data, validation=missing, test=missing)
    assert same(weights(fit([run], data).model, 0), weights(fit([run], poisoned).model, 0))


def test_a_failed_run_is_noted_and_the_others_are_as_alone():
    configs, data = population(ODD, **{"train.epochs": 4}), images()
    losses = []

    def set_nan(progress):
        losses.append(progress.losses)
        if progress.epoch == 2:
            with torch.no_grad():
                progress.model.gate.network.layers[0].weight[1] = torch.nan

    found = fit(configs, data, on_epoch=set_nan)
    assert found.failures[0] is found.failures[2] is None
    failure = found.failures[1]
    assert (failure.epoch, failure.step, failure.reason) == (3, 7, "the loss became nan")  # 3 steps an epoch
    assert torch.tensor([epoch[1] for epoch in losses]).isnan().tolist() == [False, False, True, True]
    for run in (0, 2):
        assert same(weights(fit([configs[run]], data).model, 0), weights(found.model, run))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"objective.balance_weight": 1e300}, r"the loss became (inf|nan)"),
        ({"routing.temperature": 1e-300}, r"the loss became nan"),
        (
            {"routing.temperature_schedule": "linear", "routing.final_temperature": 1e-300},
            r"the loss became nan",
        ),
    ],
)
def test_extreme_scalars_end_in_a_failure(changes, reason):
    found = fit([config(changes)], images())
    assert 1 <= found.failures[0].step <= 6
    assert re.fullmatch(reason, found.failures[0].reason)


def test_a_diverging_learning_rate_ends_in_a_failure_and_training_stops():
    stats = []
    run = config({"train.learning_rate": 1e30, "train.epochs": 50})
    found = fit([run, override(run, {"seed": 1})], images(), on_epoch=stats.append)
    assert all(found.failures)
    assert len(stats) == max(failure.epoch for failure in found.failures) < 50


def test_a_population_has_configurations_of_one_shape():
    with pytest.raises(ConfigError, match="at least one configuration"):
        fit([], images())
    with pytest.raises(ConfigError, match=r"differ only in seed, [^\n]*$"):
        fit([config(), config({"model.latent_dim": 5})], images())


def test_statistics_and_result_describe_the_training():
    run = config({"routing.temperature_schedule": "linear", "routing.temperature": 4.0, "train.epochs": 3})
    stats = []
    found = fit([run], images(), on_epoch=stats.append)
    assert [(each.epoch, each.epochs) for each in stats] == [(1, 3), (2, 3), (3, 3)]
    assert stats[0].temperatures == pytest.approx([4 - 3 * 2 / 8])  # step 2 of steps 0..8
    assert stats[-1].temperatures == pytest.approx([1.0])
    assert found.configs == (run,)
    assert found.images_per_second == pytest.approx(3 * 96 / found.seconds)


def test_the_gate_uses_the_temperature_of_the_step():
    run = config(
        {
            "routing.temperature_schedule": "cosine",
            "routing.temperature": 3.0,
            "routing.final_temperature": 0.5,
        }
    )
    training = Trainer([run], images(), CPU)
    seen, forward = [], training.model.forward
    training.model.forward = lambda x, noise, heat, *rest: (
        seen.append(heat.item()),
        forward(x, noise, heat, *rest),
    )[1]
    while not training.done:
        training.epoch()
    assert len(seen) == 6
    assert (seen[0], seen[-1]) == pytest.approx((3.0, 0.5))
    assert seen == sorted(seen, reverse=True)


def batches(binarization="none", count=50, size=16, seeds=(0, 1)):
    """Batches of images whose pixels all equal their index."""
    pixels = torch.arange(count).div(count)[:, None].expand(-1, 400).contiguous()
    runs = [
        config({"train.batch_size": size, "data.binarization": binarization}, seed=seed) for seed in seeds
    ]
    return Batches(runs, pixels, (20, 20), CPU)


def test_an_epoch_shows_no_image_twice_and_each_run_has_its_own_order():
    feed = batches()
    epochs = [
        torch.cat([batch.target for batch in feed.epoch()], 1)[..., 0].mul(50).round() for _ in range(2)
    ]
    assert epochs[0].shape == (2, 48)
    for epoch in epochs:
        assert all(run.unique().numel() == 48 for run in epoch)
        assert not torch.equal(epoch[0], epoch[1])
    assert not torch.equal(epochs[0], epochs[1])


def test_a_batch_is_never_larger_than_the_data():
    feed = batches(count=10, size=16)
    assert (feed.size, feed.steps) == (10, 1)


@pytest.mark.parametrize("binarization", ["dynamic", "static"])
def test_pixels_are_drawn_with_their_gray_value(binarization):
    feed = batches(binarization, seeds=(0,), size=50)
    order = batches("none", seeds=(0,), size=50)
    shown = [(next(feed.epoch()).target, next(order.epoch()).target) for _ in range(20)]
    drawn = [x[0][gray[0, :, 0].argsort()] for x, gray in shown]
    assert all(((x == 0) | (x == 1)).all() for x in drawn)
    expected = torch.arange(50) / 50
    mean = torch.stack(drawn).mean((0, 2))
    assert (mean - expected).abs().max() < 5 * 0.5 / 400**0.5
    assert torch.equal(drawn[0], drawn[1]) == (binarization == "static")


def test_digits_are_learned():
    run = override(digits(), {"train.epochs": 12})
    stats = []
    found = fit([run], load_images(run.data), on_epoch=stats.append)
    assert stats[-1].losses[0] < stats[0].losses[0] - 10
    (test,) = evaluate(found.model, [run], load_images(run.data))
    assert -45 < test.metrics["mixture_elbo"] < -15  # 64 fair coins would be -44.4


def test_the_weight_of_the_divergence_of_z_is_zero_at_the_first_step_of_a_warm_up():
    """With one expert, the loss is the reconstruction at first, and the ELBO at the end of the warm-up."""
    losses = []
    for warmup in (0.0, 1.0):
        run = config({"model.num_experts": 1, "train.epochs": 1, "train.kl_warmup": warmup})
        training = Trainer([run], images(), torch.device("cpu"))
        batch = next(training.batches.epoch())
        noise = training.loss.latent.normal(1, 32, 4)
        training.loss.latent = RunGenerators([run.seed], "latent noise", torch.device("cpu"))
        with torch.no_grad():
            recon, kl_z = (each.mean() for each in training.model.experts.dense(batch.target, noise))
        losses.append((training.step(0, batch).total, recon, kl_z))
        assert training.model.experts.kl_weight == 1
    (whole, recon, kl_z), (first, *_) = losses
    torch.testing.assert_close(whole, (kl_z - recon).view(1))
    torch.testing.assert_close(first, -recon.view(1))
