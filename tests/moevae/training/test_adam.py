"""Adam takes the steps of torch's class, and continues from a state without a difference."""

import pytest
import torch
from small import config, images

from moevae.training.adam import Adam
from moevae.training.fit import fit
from moevae.training.trainer import Trainer

RATES = [0.1, 0.03, 0.2, 1e-3, 0.05]


def weights(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.nn.Parameter(torch.randn(*shape, generator=generator)) for shape in [(3, 5, 7), (33,), (1,)]
    ]


def set_gradients(parameters: list[torch.nn.Parameter], step: int) -> None:
    """One of the parameters has no gradient at every other step."""
    for parameter, other in zip(parameters, weights(seed=1 + step), strict=True):
        parameter.grad = other.detach()
    if step % 2:
        parameters[1].grad = None


def test_its_steps_are_those_of_torchs_class():
    own, theirs = weights(), weights()
    adam, oracle = Adam(own), torch.optim.Adam(theirs, fused=True)
    for step, rate in enumerate(RATES):
        set_gradients(own, step)
        set_gradients(theirs, step)
        adam.step(rate)
        oracle.param_groups[0]["lr"] = rate
        oracle.step()
    assert all(torch.equal(one, other) for one, other in zip(own, theirs, strict=True))
    assert not torch.equal(own[0], weights()[0])


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_a_state_is_all_that_the_next_steps_need(stop):
    parameters = weights()
    adam = Adam(parameters)
    for step, rate in enumerate(RATES[:stop]):
        set_gradients(parameters, step)
        adam.step(rate)
    others = [torch.nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    again = Adam(others)
    again.restore(adam.state())
    for step, rate in enumerate(RATES[stop:], start=stop):
        for optimizer, own in ((adam, parameters), (again, others)):
            set_gradients(own, step)
            optimizer.step(rate)
    assert all(torch.equal(one, other) for one, other in zip(parameters, others, strict=True))


PERCEPTRONS = {"model.num_experts": 3, "model.expert_hidden": (128,), "model.gate_hidden": (8,)}


@pytest.mark.parametrize(
    ("changes", "in_parts"),
    [
        ({"routing.kind": "hard"}, False),
        ({"routing.kind": "top-k", "routing.noise": 0.5, "model.latent_prior": "hierarchical"}, True),
        ({"routing.kind": "sampled", "objective.bound": "iwae", "train.num_samples": 3}, True),
        ({"routing.kind": "sampled", "train.extra_experts": 2}, True),
        ({"routing.kind": "sampled", "model.expert_hidden": (128, 512), "model.latent_prior": "vamp"}, True),
        ({"routing.kind": "sampled", "train.precision": "bfloat16"}, False),
        ({"routing.kind": "sampled", "model.expert_hidden": (64,)}, False),
        ({}, False),
    ],
)
def test_updates_in_the_backward_pass_are_those_after_it(changes, in_parts, monkeypatch):
    runs = [config(PERCEPTRONS | changes, seed=seed, **{"train.batch_size": 16}) for seed in range(2)]
    data = images(train=64, size=(28, 28))
    updated, whole = [], Adam._step

    def step(self, moved, rate):
        updated.append({index for _, index in self._layers} - {*moved})
        whole(self, moved, rate)

    monkeypatch.setattr(Adam, "_step", step)
    one = fit(runs, data).model.state_dict()
    assert all(bool(each) == in_parts for each in updated)
    monkeypatch.setattr(Adam, "begin", lambda self, rate: None)
    other = fit(runs, data).model.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_moments_have_torchs_names_so_that_older_snapshots_continue():
    training = Trainer([config()], images(), torch.device("cpu"))
    training.epoch()
    names = {name.split(".", 2)[2] for name in training.state()[0] if name.startswith("optimizer.")}
    theirs = torch.optim.Adam(weights(), fused=True)
    set_gradients(theirs.param_groups[0]["params"], 0)
    theirs.step()
    assert names == set(theirs.state_dict()["state"][0])
