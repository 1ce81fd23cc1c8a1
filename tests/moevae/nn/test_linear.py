"""Stacked layers against torch.nn.functional.linear, one run and one expert at a time."""

import itertools
import math

import pytest
import torch
from small import each_bias, normal
from torch.nn import functional

from moevae.config.registry import ACTIVATIONS
from moevae.nn.layer_specs import perceptron
from moevae.nn.linear import StackedLinear
from moevae.nn.sequential import BranchingNetwork, StackedNetwork
from moevae.nn.stacked import reset
from moevae.utils.rng import generator


def filled(layer):
    """Draw weights and biases."""
    layer = layer.double()
    runs = next(layer.parameters()).shape[0]
    reset(layer, [generator(seed, "test") for seed in range(runs)])
    each_bias(layer, lambda bias: bias.copy_(normal(*bias.shape)))
    return layer


def plain(layers, x, activation):
    """A perceptron of (weight, bias) pairs, weights [I, O], on x [B, I]."""
    for index, (weight, bias) in enumerate(layers):
        x = functional.linear(ACTIVATIONS[activation](x) if index else x, weight.T, bias)
    return x


@pytest.mark.parametrize("sizes", [(4, 8), (3, 5), (16, 16), (1, 1)])
def test_linear_over_runs_and_experts(sizes):
    inputs, outputs = sizes
    layer = filled(StackedLinear((2, 3), inputs, outputs))
    x = normal(2, 3, 7, inputs)
    found = layer(x)
    for run, expert in itertools.product(range(2), range(3)):
        expected = functional.linear(x[run, expert], layer.weight[run, expert].T, layer.bias[run, expert])
        torch.testing.assert_close(found[run, expert], expected)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("sizes", [(6, 4), (6, 5, 3), (6, 9, 7, 2)])
def test_perceptrons_over_runs(sizes, activation):
    network = filled(StackedNetwork((2,), perceptron(sizes), activation))
    x = normal(2, 11, 6)
    found = network(x)
    for run in range(2):
        layers = [(layer.weight[run], layer.bias[run]) for layer in network.layers]
        torch.testing.assert_close(found[run], plain(layers, x[run], activation))


@pytest.mark.parametrize("sizes", [(6, 4), (6, 5, 3), (6, 9, 7, 2)])
def test_experts_that_share_their_input(sizes):
    runs, experts, width = 2, 3, sizes[1]
    network = filled(BranchingNetwork(runs, experts, perceptron(sizes), "tanh"))
    x = normal(runs, 11, 6)
    found = network(x)
    assert found.shape == (runs, experts, 11, sizes[-1])
    for run, expert in itertools.product(range(runs), range(experts)):
        own = slice(expert * width, (expert + 1) * width)
        first = (network.first.weight[run][:, own], network.first.bias[run][own])
        rest = [(layer.weight[run, expert], layer.bias[run, expert]) for layer in network.rest.layers]
        torch.testing.assert_close(found[run, expert], plain([first, *rest], x[run], "tanh"))


def test_weights_start_glorot_uniform_and_biases_zero():
    network = BranchingNetwork(1, 10, perceptron((100, 50, 30)), "relu")
    reset(network, [generator(0, "test")])
    for layer, outputs in ((network.first, 50), (network.rest.layers[0], 30)):
        bound = math.sqrt(6 / (layer.inputs + outputs))  # of one expert, not of ten side by side
        assert bound * 0.99 < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
        assert not layer.bias.any()


def test_a_run_starts_from_its_own_generator():
    def start(*seeds):
        layer = StackedLinear((len(seeds), 3), 5, 7)
        layer.reset([generator(seed, "test") for seed in seeds])
        return layer.weight.detach()

    together = start(8, 9)
    assert torch.equal(together[1], start(9)[0])
    assert not torch.equal(together[0], together[1])


def test_padding_gets_no_gradient_and_every_weight_does():
    layer = filled(StackedLinear((2,), 5, 7))
    layer(normal(2, 11, 5)).square().sum().backward()
    assert layer._weight.shape == (2, 48)  # 35 weights, filled up to whole vectors
    assert not layer._weight.grad[:, 35:].any()
    assert layer._weight.grad[:, :35].all()
    assert layer._bias.grad[:, :7].all()
