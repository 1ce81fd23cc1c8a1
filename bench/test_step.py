"""Training steps and evaluation compared with the naive loop, by path, batch, experts and width."""

import flops
import pytest
from steps import ARCHITECTURES, PATHS, check, chosen, dtype_of, training_step

from moevae.evaluation.evaluate import evaluate
from moevae.models.mixture import Mixture


def against_naive(measure, device, other, sizes, path, **facts):
    changes = PATHS[path]
    losses = measure(
        path,
        training_step(sizes, device, changes),
        images=sizes.batch,
        flops=flops.training(sizes, chosen(changes)),
        rival=other,
        dtype=dtype_of(changes),
        **facts,
    )
    check(losses, sizes, other.losses)


@pytest.mark.benchmark(group="training step by batch size")
@pytest.mark.parametrize("path", PATHS)
def test_batch(measure, device, rival, plan, path, at_batches):
    sizes = plan.at(batch=at_batches)
    against_naive(measure, device, rival(sizes), sizes, path, batch=at_batches)


@pytest.mark.benchmark(group="training step by number of experts")
@pytest.mark.parametrize("path", ["soft", "top-1"])
def test_experts(measure, device, rival, plan, path, at_experts):
    sizes = plan.at(experts=at_experts, batch=plan.batches[0])
    against_naive(measure, device, rival(sizes), sizes, path, experts=at_experts)


@pytest.mark.benchmark(group="training step by width")
@pytest.mark.parametrize("path", ["soft", "soft, bfloat16"])
def test_width(measure, device, rival, plan, path, at_hidden):
    sizes = plan.at(hidden=at_hidden)
    against_naive(measure, device, rival(sizes), sizes, path, hidden=at_hidden)


@pytest.mark.benchmark(group="training step, sparse against soft")
def test_sparse_against_soft(measure, device, plan, at_compared):
    sizes = plan.at(batch=at_compared)
    losses = measure(
        "top-1 against soft",
        training_step(sizes, device, PATHS["top-1"]),
        images=sizes.batch,
        versus=training_step(sizes, device),
        target=6.0 if at_compared == 1024 else None,
        batch=at_compared,
    )
    check(losses, sizes)


@pytest.mark.benchmark(group="training step by architecture, against perceptrons")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architecture(measure, device, plan, name):
    changes, sizes = ARCHITECTURES[name], plan.at(batch=plan.batches[0])
    losses = measure(
        name,
        training_step(sizes, device, changes),
        images=sizes.batch,
        flops=flops.training(sizes, chosen(changes), changes),
        versus=training_step(sizes, device),
        dtype=dtype_of(changes),
    )
    check(losses, sizes)


@pytest.mark.benchmark(group="training step, top-1 of 64 experts against 8")
def test_many_experts_against_few(measure, device, plan, at_compared):
    """The number of products is the same; the weights, their gradients and Adam make the difference."""
    sizes = plan.at(experts=64, batch=at_compared)
    losses = measure(
        "64 experts against 8",
        training_step(sizes, device, PATHS["top-1"]),
        images=sizes.batch,
        flops=flops.training(sizes, chosen=1),
        versus=training_step(plan.at(experts=8, batch=at_compared), device, PATHS["top-1"]),
        target=0.5 if at_compared == 1024 else None,
        batch=at_compared,
    )
    check(losses, sizes)


@pytest.mark.benchmark(group="evaluation by batch size")
def test_evaluation(measure, device, plan, at_batches):
    sizes = plan.at(batch=at_batches)
    config, images = sizes.config(), sizes.images(2 * max(at_batches, 128))
    model = Mixture(config.model, (sizes.side, sizes.side), (0,)).to(device)
    found = measure(
        "evaluation",
        lambda: evaluate(model, [config], images, chunk=at_batches, importance=False),
        images=len(images.test),
        flops=flops.evaluation(sizes),
        target_share=0.75 if device.type == "cpu" and at_batches == 1024 else None,
        batch=at_batches,
    )
    metrics = found[0][0].metrics
    assert metrics["mixture_elbo"] < 0
    assert all(each[0].metrics == metrics for each in found)
