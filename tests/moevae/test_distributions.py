"""Densities and divergences against torch.distributions."""

import math

import pytest
import torch
from small import normal
from torch import distributions
from torch.nn import functional

from moevae import distributions as densities
from moevae.distributions import (
    bernoulli_log_prob,
    bernoulli_log_prob_alone,
    gaussian_log_prob,
    kl_categorical,
    kl_standard_normal,
    logit_alone,
    sigmoid_alone,
)

DTYPES = pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["float64", "float32"]
)


@pytest.fixture(params=["as on a CPU", "as on a GPU"])
def way(request, monkeypatch):
    """Both implementations of the sums; that of GPUs is also tested on the CPU."""
    if request.param == "as on a GPU":
        monkeypatch.setattr(densities, "_in_blocks", densities._at_once)


WAYS = pytest.mark.usefixtures("way")


@WAYS
@DTYPES
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0, 1e4])
def test_bernoulli(dtype, rtol, scale):
    logits = scale * normal(3, 2, 50, dtype=dtype)
    x = (normal(3, 2, 50, seed=1) > 0).to(dtype)
    expected = distributions.Bernoulli(logits=logits).log_prob(x).sum(-1)
    dropped = 50 * math.exp(
        -20
    )  # torch's softplus, which torch.distributions takes, drops this much above 20
    torch.testing.assert_close(bernoulli_log_prob(logits, x), expected, rtol=rtol, atol=rtol + dropped)


@WAYS
@DTYPES
def test_bernoulli_of_gray_pixels_is_the_cross_entropy(dtype, rtol):
    logits, x = normal(4, 50, dtype=dtype), normal(4, 50, seed=1, dtype=dtype).sigmoid()
    p = logits.sigmoid()
    expected = (x * p.log() + (1 - x) * (1 - p).log()).sum(-1)
    torch.testing.assert_close(bernoulli_log_prob(logits, x), expected, rtol=rtol, atol=rtol)


@WAYS
@DTYPES
def test_bernoulli_of_extreme_logits_stays_exact_with_a_finite_gradient(dtype, rtol):
    logits = torch.tensor([[1e4, -1e4, 1e4, -1e4]], dtype=dtype, requires_grad=True)
    x = torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=dtype)
    result = bernoulli_log_prob(logits, x)
    assert result.item() == -2e4
    result.backward()
    assert logits.grad.tolist() == [[0.0, 0.0, -1.0, 1.0]]


@WAYS
@pytest.mark.parametrize("pixels", [1, 64, 111, 112, 113, 784, 787])
@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 2e-6)]
)
def test_bernoulli_of_experts_that_share_their_images(pixels, dtype, rtol):
    """More rows than one block holds; pixels that do and do not fill the products of the fast path."""
    logits = (4 * normal(2, 3, 150, pixels)).to(dtype)
    x = (normal(2, 1, 150, pixels, seed=1) > 0).to(dtype)
    weight = normal(2, 3, 150, seed=2)

    def value_and_gradient(function, wide):
        leaf = logits.to(wide, copy=True).requires_grad_()
        result = function(leaf, x.to(wide))
        (result * weight.to(result.dtype)).sum().backward()
        return result.detach(), leaf.grad

    def plain(wide, x):
        return (x * wide - functional.softplus(wide, threshold=100)).sum(-1)

    (expected, slope), (found, found_slope) = (
        value_and_gradient(plain, torch.float64),
        value_and_gradient(bernoulli_log_prob, dtype),
    )
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    assert found_slope.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=rtol, atol=rtol)
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(found_slope.double(), slope, rtol=4 * rounding, atol=4 * rounding)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("alone", "usual"),
    [
        (sigmoid_alone, torch.sigmoid),
        (lambda x: logit_alone(x.tanh() / 2.1 + 0.5), lambda x: torch.logit(x.tanh() / 2.1 + 0.5)),
        (
            lambda x: bernoulli_log_prob_alone(x, (x > 0.5).float()),
            lambda x: bernoulli_log_prob(x, (x > 0.5).float()),
        ),
    ],
    ids=["sigmoid", "logit", "bernoulli"],
)
def test_rounding_alone_ignores_the_place(alone, usual, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for seed in range(20):
            rows = 3 * normal(997, 37, seed=seed, dtype=torch.float32)
            found = alone(rows)
            torch.testing.assert_close(found, usual(rows), rtol=1e-5, atol=1e-6)
            for step in (1, 332, 500):
                assert torch.equal(alone(rows.roll(step, 0)), found.roll(step, 0))
    finally:
        torch.set_num_threads(before)


def test_bernoulli_states_that_it_has_no_gradient_for_the_images_and_no_second_one():
    logits = normal(2, 5).requires_grad_()
    with pytest.raises(ValueError, match="no gradient for x"):
        bernoulli_log_prob(logits, normal(2, 5).requires_grad_())
    (slope,) = torch.autograd.grad(
        bernoulli_log_prob(logits, torch.ones(2, 5)).sum(), logits, create_graph=True
    )
    with pytest.raises(RuntimeError, match="does not require grad"):
        slope.sum().backward()


@DTYPES
@pytest.mark.parametrize("std", [0.05, 0.5, 3.0])
def test_gaussian(dtype, rtol, std):
    mean, x = normal(3, 20, dtype=dtype), normal(3, 20, seed=1, dtype=dtype)
    expected = distributions.Independent(distributions.Normal(mean, std), 1).log_prob(x)
    torch.testing.assert_close(gaussian_log_prob(mean, x, std), expected, rtol=rtol, atol=rtol)


def test_gaussian_constant_of_the_2019_article():
    image = torch.zeros(784, dtype=torch.float64)
    assert gaussian_log_prob(image, image, 0.5).item() == pytest.approx(-177.02, abs=0.005)


@DTYPES
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_kl_standard_normal(dtype, rtol, scale):
    mu, logvar = scale * normal(5, 8, dtype=dtype), scale * normal(5, 8, seed=1, dtype=dtype)
    posterior = distributions.Normal(mu, (0.5 * logvar).exp())
    expected = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(kl_standard_normal(mu, logvar), expected, rtol=rtol, atol=rtol)


def test_kl_standard_normal_is_zero_at_the_prior():
    assert kl_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0.0, 0.0]


@DTYPES
@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_kl_categorical(dtype, rtol, scale):
    q = distributions.Categorical(logits=scale * normal(6, 5, dtype=dtype))
    p = distributions.Categorical(logits=scale * normal(6, 5, seed=1, dtype=dtype))
    expected = distributions.kl_divergence(q, p)
    torch.testing.assert_close(kl_categorical(q.logits, p.logits), expected, rtol=rtol, atol=rtol)


def test_kl_categorical_of_a_one_hot_is_its_negative_log_prior():
    log_q = torch.tensor([-math.inf, 0.0, -math.inf])
    log_p = torch.tensor([0.2, 0.3, 0.5]).log()
    assert kl_categorical(log_q, log_p).item() == pytest.approx(-math.log(0.3))
