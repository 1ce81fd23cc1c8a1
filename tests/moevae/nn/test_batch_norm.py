"""Batch normalization: compared with torch's, run by run, in training and evaluation."""

import plain
import pytest
import torch
from small import EVEN, ODD, config, images, mixture, normal, same, weights
from torch import nn

from moevae.config.overrides import override
from moevae.errors import ConfigError
from moevae.evaluation.evaluate import evaluate
from moevae.nn.batch_norm import BatchNorm, batch_statistics
from moevae.training.fit import fit
from moevae.training.trainer import Trainer

CPU = torch.device("cpu")
BATCH = {"model.gate_normalization": "batch", "model.gate_hidden": (29, 32)}


def layers(runs=3, width=5):
    """A stacked layer, and one layer of torch per run with the same scales."""
    stacked = BatchNorm(runs, width).double()
    with torch.no_grad():
        stacked.unpadded("scale").copy_(normal(runs, width, seed=1))
    own = []
    for run in range(runs):
        layer = nn.BatchNorm1d(width, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(stacked.unpadded("scale")[run])
        own.append(layer)
    return stacked, own


def test_it_is_torchs_own_run_by_run_in_training_and_in_evaluation():
    stacked, own = layers()
    for seed in range(4):
        x = (3 * normal(3, 7, 5, seed=seed) + 2).requires_grad_()
        with batch_statistics(stacked, update=True):
            found = stacked(x)
        expected = torch.stack([layer.train()(x[run]) for run, layer in enumerate(own)])
        torch.testing.assert_close(found, expected)
        slopes, scales = normal(3, 7, 5, seed=9), [layer.weight for layer in own]
        to_x, to_scale = torch.autograd.grad((found * slopes).sum(), [x, stacked._scale])
        right, *each = torch.autograd.grad((expected * slopes).sum(), [x, *scales])
        torch.testing.assert_close(to_x, right)
        torch.testing.assert_close(to_scale[:, :5], torch.stack(each))
    for run, layer in enumerate(own):
        torch.testing.assert_close(stacked.running_mean[run], layer.running_mean)
        torch.testing.assert_close(stacked.running_variance[run], layer.running_var)
    x = normal(3, 2, 5, seed=5)
    expected = torch.stack([layer.eval()(x[run]) for run, layer in enumerate(own)])
    torch.testing.assert_close(stacked(x), expected)


def test_batch_statistics_are_used_in_the_context_and_update_running_ones_only_on_request():
    stacked, _ = layers()
    x, before = normal(3, 7, 5), stacked.running_mean.clone()
    by_running = stacked(x)
    with batch_statistics(stacked, update=False):
        by_batch = stacked(x)
        assert torch.equal(stacked.running_mean, before)
        with batch_statistics(stacked, update=True):
            assert torch.equal(stacked(x), by_batch)
        moved = stacked.running_mean.clone()
        assert not torch.equal(moved, before)
        stacked(x)
    assert torch.equal(stacked.running_mean, moved)
    assert not torch.allclose(by_batch, by_running)
    with pytest.raises(KeyError), batch_statistics(stacked, update=True):
        raise KeyError
    stacked(x)
    assert torch.equal(stacked.running_mean, moved)


def test_the_gate_is_linear_then_normalized_then_activated():
    model = mixture(config(BATCH), seeds=(0, 1))
    x = (normal(2, 11, 30, seed=1) > 0).double()
    with batch_statistics(model, update=True):
        found = model.gate(x)
    for run in range(2):
        network = plain.gate(model, run)
        assert [type(layer).__name__ for layer in network] == [
            *("Linear", "BatchNorm1d", "ReLU") * 2,
            "Linear",
        ]
        torch.testing.assert_close(found[run].T, network.train()(x[run]))


@pytest.mark.parametrize(("batch", "threads"), [(16, 1), (48, 2)])
def test_other_runs_change_no_bit(batch, threads, one_thread_again):
    torch.set_num_threads(threads)
    base, data = config(ODD | BATCH | {"train.batch_size": batch}), images(train=320)
    runs = [override(base, {"seed": seed, "objective.balance_weight": 5.0 * seed}) for seed in range(3)]
    together = fit(runs, data).model
    assert not same(weights(together, 0), weights(together, 1))
    for run, own in enumerate(runs):
        alone = fit([own], data).model
        assert same(weights(alone, 0), weights(together, run))
        assert evaluate(alone, [own], data)[0].metrics == evaluate(together, runs, data)[run].metrics


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_restored_training_continues_bit_for_bit(precision):
    run, data = config(BATCH | {"train.precision": precision, "train.epochs": 4}), images()
    whole, half, rest = (Trainer([run], data, CPU) for _ in range(3))
    for _ in range(2):
        half.epoch()
        evaluate(half.model, [run], data)
    rest.restore(*half.state())
    for training in (whole, rest):
        while not training.done:
            training.epoch()
    assert same(weights(whole.model, 0), weights(rest.model, 0))


def test_bfloat16_works_with_the_kept_statistics_and_near_float32():
    data = images()
    kept = {}
    for precision in ("float32", "bfloat16"):
        training = Trainer([config(BATCH | {"train.precision": precision})], data, CPU)
        training.epoch()
        own = dict(training.working.model.named_buffers())
        kept[precision] = dict(training.model.named_buffers())
        assert all(own[name] is value for name, value in kept[precision].items())
    assert kept["float32"]
    for name, value in kept["bfloat16"].items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, kept["float32"][name], rtol=0.05, atol=0.02)


def test_only_training_moves_the_running_statistics():
    run, data = config(BATCH), images()
    training = Trainer([run], data, CPU)
    training.epoch()
    buffers = dict(training.model.named_buffers())
    before = {name: value.clone() for name, value in buffers.items() if "running" in name}
    assert all((value != float(name.endswith("variance"))).all() for name, value in before.items())
    evaluate(training.model, [run], data)
    training.model.gate(data.train[None])
    assert all(torch.equal(buffers[name], value) for name, value in before.items())


def test_an_image_is_evaluated_by_itself():
    run, data = config(BATCH), images()
    model = fit([run], data).model
    x = data.test[None].round()
    alone = torch.cat([model.gate(x[:, [image]]) for image in range(5)], -1)
    torch.testing.assert_close(model.gate(x)[..., :5], alone)


def test_a_batch_of_one_has_no_statistics():
    with pytest.raises(ConfigError, match=r"model\.gate_normalization.*train\.batch_size"):
        config(BATCH | {"train.batch_size": 1})


@pytest.mark.parametrize("kind", ["soft", "sampled"])
def test_every_parameter_gets_a_gradient(kind):
    learned = {"routing.kind": kind, "routing.num_sampled": 3, "routing.temperature_schedule": "learned"}
    training = Trainer([config(EVEN | BATCH | learned)], images(), CPU)
    training.step(0, next(training.batches.epoch()))
    for name, parameter in training.model.named_parameters():
        assert parameter.grad.abs().max() > 1e-6, name
