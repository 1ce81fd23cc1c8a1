"""CUDA graphs: the kernels of a step, replayed on the same addresses, train as the step itself does."""

import pytest
import torch
from small import config, images, same
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from moevae.errors import ConfigError
from moevae.objectives.objective import Objective
from moevae.training.fit import fit
from moevae.training.graphs import StepGraph, check_graph
from moevae.training.trainer import Trainer

CPU = torch.device("cpu")


class Tape(TorchDispatchMode):
    """Notes operations with the very tensors that they read and write, as a CUDA graph does."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        assert kwargs.get("generator") is None, (
            f"{func} draws at random, so that each replay would draw the same"
        )
        assert "_local_scalar_dense" not in func.name(), "a graph cannot wait for a number"
        found = func(*args, **kwargs)
        if func._schema.is_mutable or not any(each.alias_info for each in func._schema.returns):
            self.noted.append((func, args, kwargs, found))  # a view needs no replay
        return found

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, found in self.noted:
            again = func(*args, **kwargs)
            if not func._schema.is_mutable:
                for out, value in zip(tree_leaves(found), tree_leaves(again), strict=True):
                    if isinstance(out, torch.Tensor):
                        out.copy_(value)


class TapeRecorder:
    """A stand-in for CUDA graphs. Recording runs the step, and undoes what it changes."""

    def __init__(self, model):
        self.model, self.tapes = model, []

    def warm_up(self, function):
        return function()

    def record(self, function):
        before = {name: value.clone() for name, value in self.model.named_buffers()}
        with Tape() as tape:
            found = function()
        for name, value in self.model.named_buffers():
            value.copy_(before[name])
        self.tapes.append(tape)

        def replay():
            tape.replay()
            return found

        return replay


CASES = {
    "soft": {},
    "dynamic pixels, steep schedules": {
        "data.binarization": "dynamic",
        "routing.temperature_schedule": "exponential",
        "routing.final_temperature": 0.5,
        "train.learning_rate_schedule": "cosine",
    },
    "hard, learned temperature": {"routing.kind": "hard", "routing.temperature_schedule": "learned"},
    "consistency, batch normalization": {
        "objective.consistency": ["vat", "knn-stretch"],
        "model.gate_normalization": "batch",
    },
    "bfloat16": {"train.precision": "bfloat16"},
    "bias": {"objective.balancing": "loss-free"},
    "learned std": {"model.likelihood": "gaussian", "model.gaussian_std": "learned"},
    "deformable": {"model.decoder": "deformable", "model.likelihood": "gaussian"},
}


def trained(changes, graph):
    training = Trainer([config(changes)], images(), CPU)
    recorder = TapeRecorder(training.model)
    if graph:
        training.graph = StepGraph(training, recorder)
    losses = [training.epoch().losses for _ in range(3)]
    return training, losses, recorder


@pytest.mark.parametrize("name", CASES)
def test_three_epochs_with_a_graph_are_those_without(name):
    training, losses, recorder = trained({**CASES[name], "train.epochs": 3}, True)
    plain, expected, _ = trained({**CASES[name], "train.epochs": 3}, False)
    (tape,) = recorder.tapes
    assert len(tape.noted) > 20
    assert losses == expected
    assert same(training.state()[0], plain.state()[0])


def test_a_change_of_loss_weights_records_a_new_graph():
    changes = {"train.epochs": 3, "train.kl_warmup": 0.4}
    training, losses, recorder = trained(changes, True)
    assert len(recorder.tapes) == 1
    assert losses == trained(changes, False)[1]
    training.set_model(training.model)
    training.epoch()
    training.epoch()
    assert len(recorder.tapes) == 2


@pytest.mark.parametrize(
    ("device", "changes", "word"),
    [
        ("cpu", {}, "CUDA device"),
        ("cuda", {"routing.kind": "sampled"}, "routing.kind"),
        ("cuda", {"objective.expert_weights": "map"}, "expert_weights"),
        ("cuda", {"train.revival": 0.1}, "revival"),
    ],
)
def test_a_graph_is_refused_in_one_line_where_it_is_not_possible(device, changes, word):
    runs = [config(changes)]
    with pytest.raises(ConfigError, match=word) as caught:
        check_graph(runs, torch.device(device), Objective(runs, CPU, runs[0].model.num_experts))
    assert "\n" not in str(caught.value)


def test_a_graph_is_recorded_only_on_request():
    with pytest.raises(ConfigError, match="CUDA device"):
        fit([config()], images(), device="cpu", cuda_graph=True)
    assert Trainer([config()], images(), CPU).graph is None
