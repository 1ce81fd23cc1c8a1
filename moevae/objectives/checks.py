"""Checks of the laws that every routing, balancing loss, bias update and consistency term must satisfy.

Call them on a function of your own, in a test, before you register it:

    def test_my_routing():
        check_routing(my_routing)

Each check raises an AssertionError that names the broken law. Shapes: R runs, B batch, K experts, D pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from moevae.objectives.consistency import Neighborhood
from moevae.utils.laws import law
from moevae.utils.rng import RunGenerators

RUNS, EXPERTS, BATCH, SIDE = 2, 5, 12, 6
ORDER = [3, 0, 4, 1, 2]
"""A permutation of the experts."""
DEAD = -1e4
"""Logit of a dead expert, which gets no image."""


def check_routing(route: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check that weights sum to one, are finite with a dead expert, and are equivariant to permutations.

    Args:
        route: from log q(k|x), [R, K, B], and draws uniform on [0, 1), [R, K, B], to weights, [R, K, B].

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    uniform, value = torch.rand(RUNS, EXPERTS, BATCH, generator=_random(1)), _normal(EXPERTS, BATCH, seed=2)
    for logits in _gates():
        log_probs = logits.log_softmax(1)
        weights = route(log_probs, uniform)
        _check_shape(weights, log_probs.shape)
        law(bool((weights >= 0).all()), "weights are not negative")
        _close(weights.sum(1), torch.ones(RUNS, BATCH), "weights of an image sum to one")
        _close(
            route(log_probs[:, ORDER], uniform[:, ORDER]),
            weights[:, ORDER],
            "weights are permuted like the experts",
        )
        alone = [route(log_probs[[run]], uniform[[run]]) for run in range(RUNS)]
        _close(torch.cat(alone), weights, "the weights of a run do not depend on other runs")
        _check_gradient((weights * value).sum(), logits)


def check_load_balancing(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check that a loss is finite with a dead expert, and invariant to permutations and to other runs.

    Args:
        loss: from log q(k|x), [R, K, B], and log pi, [R, K], to one number per run, [R].

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    for logits in _gates():
        log_probs = logits.log_softmax(1)
        _check_gradient(_checked_of_runs(loss, log_probs, permuted=False).sum(), logits)


def check_bias_update(update: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check that an update of biases is finite with a dead expert, and equivariant to permutations.

    Args:
        update: from log q(k|x), [R, K, B], and log pi, [R, K], to the direction of each bias, [R, K].

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    for logits in _gates():
        moved = _checked_of_runs(update, logits.log_softmax(1), permuted=True)
        law(not moved.requires_grad, "an update of biases has no gradient")


def check_consistency(term: Callable[[Neighborhood], Tensor]) -> None:
    """Check that a term, and its gradient, are finite with a dead expert, and invariant to permutations.

    Args:
        term: from a Neighborhood to one number per image, [R, B].

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    for dead in (False, True):
        weight = (0.3 * _normal(SIDE * SIDE, EXPERTS, seed=3)).requires_grad_()
        bias = torch.zeros(RUNS, EXPERTS)
        bias[:, 0] = DEAD if dead else 0.0
        value = term(_neighborhood(weight, bias))
        _check_shape(value, torch.Size((RUNS, BATCH)))
        renamed = term(_neighborhood(weight[..., ORDER], bias[:, ORDER]))
        _close(renamed, value, "the loss is invariant to permutations of the experts")
        _check_gradient(value.sum(), weight)


def _checked_of_runs(
    function: Callable[[Tensor, Tensor], Tensor], log_probs: Tensor, permuted: bool
) -> Tensor:
    """Check a function of log q and log pi, and return its value; `permuted` for one number per expert."""
    shares = torch.arange(1.0, EXPERTS + 1)
    log_prior = (shares / shares.sum()).log().expand(RUNS, EXPERTS)
    value = function(log_probs, log_prior)
    _check_shape(value, torch.Size((RUNS, EXPERTS) if permuted else (RUNS,)))
    expected = value[:, ORDER] if permuted else value
    change = "is permuted like the experts" if permuted else "is invariant to permutations of the experts"
    found = function(log_probs[:, ORDER], log_prior[:, ORDER])
    _close(found, expected, f"the value {change}")
    alone = [function(log_probs[[run]], log_prior[[run]]) for run in range(RUNS)]
    _close(torch.cat(alone), value, "the value of a run does not depend on other runs")
    return value


def _gates() -> Iterator[Tensor]:
    """Yield logits, [R, K, B]: of an uncertain gate, of a certain gate, and with a dead expert."""
    for scale, dead in ((1.0, False), (30.0, False), (1.0, True)):
        logits = scale * _normal(EXPERTS, BATCH, seed=0)
        if dead:
            logits[:, 0] = DEAD
        yield logits.requires_grad_()


def _neighborhood(weight: Tensor, bias: Tensor) -> Neighborhood:
    """Return the neighborhood of random images under a linear gate, [R, D, K]."""
    images = torch.rand(RUNS, BATCH, SIDE * SIDE, generator=_random(4))

    def gate_log_probs_of(others: Tensor) -> Tensor:
        return ((others @ weight).transpose(1, 2) + bias.unsqueeze(-1)).log_softmax(1)

    seeds = list(range(RUNS))
    return Neighborhood(
        gate_log_probs_of,
        images,
        gate_log_probs_of(images),
        torch.ones(RUNS, BATCH),
        (SIDE, SIDE),
        RunGenerators(seeds, "directions of the gate's neighbors"),
        RunGenerators(seeds, "jitter of the gate's neighbors"),
        lambda: images.flip(1),
    )


def _random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(RUNS, *shape, generator=_random(seed))


def _check_shape(value: Tensor, shape: torch.Size) -> None:
    law(value.shape == shape, f"the shape is {list(shape)}, not {list(value.shape)}")
    law(bool(value.isfinite().all()), "values are finite")


def _check_gradient(loss: Tensor, source: Tensor) -> None:
    if loss.requires_grad:
        (gradient,) = torch.autograd.grad(loss, source, allow_unused=True)
        law(gradient is None or bool(gradient.isfinite().all()), "the gradient is finite")


def _close(found: Tensor, expected: Tensor, text: str) -> None:
    law(bool(torch.isclose(found, expected, rtol=1e-3, atol=1e-4).all()), text)
