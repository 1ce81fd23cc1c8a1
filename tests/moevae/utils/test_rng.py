"""Random streams: fixed, distinct, and independent of other runs."""

import itertools

import pytest
import torch

from moevae.utils.rng import RunGenerators, generator

# python -c "from moevae.utils.rng import generator as g; print([g(s, 'order').initial_seed() for s in (0, 2**62)])"  # noqa: E501
GOLDEN = [3068321467330554126, 9142269135272310418]
NAMES = ("weights of the gate", "weights of the experts", "latent noise", "order", "binarization")


def test_a_stream_starts_at_its_fixed_state():
    assert [generator(seed, "order").initial_seed() for seed in (0, 2**62)] == GOLDEN


def test_no_two_streams_share_a_start():
    starts = [generator(seed, name).initial_seed() for seed, name in itertools.product(range(2000), NAMES)]
    assert len(set(starts)) == len(starts)
    assert all(0 <= start < 2**63 for start in starts)


def test_streams_do_not_follow_each_other():
    draws = torch.cat([RunGenerators(range(10), name).normal(10_000) for name in NAMES])
    apart = torch.corrcoef(draws) - torch.eye(len(draws))
    assert apart.abs().max() < 5 / 10_000**0.5


@pytest.mark.parametrize("draw", ["normal", "uniform", "permutations"])
def test_other_runs_change_no_draw(draw):
    together, alone = RunGenerators([4, 7, 4], "order"), RunGenerators([7], "order")
    for _ in range(3):
        drawn = getattr(together, draw)(50)
        assert torch.equal(drawn[1], getattr(alone, draw)(50)[0])
        assert torch.equal(drawn[0], drawn[2])
        assert not torch.equal(drawn[0], drawn[1])


def test_shapes_and_ranges():
    streams = RunGenerators([0, 1], "anything")
    assert streams.normal(3, 4).shape == (2, 3, 4)
    uniform = streams.uniform(5000)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert torch.equal(streams.permutations(30).sort(1).values, torch.arange(30).expand(2, 30))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    RunGenerators([0], "order").normal(10)
    assert torch.equal(torch.get_rng_state(), before)
