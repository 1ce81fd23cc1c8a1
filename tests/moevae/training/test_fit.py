"""The training loop: the order of its steps, and its arguments."""

import pytest
from small import config, images

from moevae.evaluation.evaluate import evaluate
from moevae.training.fit import fit, train


class Recorder:
    """A trainer and a storage of snapshots that record the calls they get."""

    def __init__(self, epochs: int) -> None:
        self.calls: list[str] = []
        self.left = epochs

    @property
    def done(self) -> bool:
        return not self.left

    def epoch(self) -> str:
        self.left -= 1
        self.calls.append("epoch")
        return "stats"

    def result(self) -> str:
        return "result"

    def restore(self, trainer: "Recorder") -> None:
        self.calls.append("restore")

    def save(self, trainer: "Recorder") -> None:
        self.calls.append("save")


def test_the_loop_restores_then_trains_evaluates_and_saves():
    recorder = Recorder(epochs=3)
    found = train(recorder, snapshots=recorder, on_epoch=recorder.calls.append)
    assert found == "result"
    assert recorder.calls == [
        *["restore", "epoch", "stats", "save"],
        *["epoch", "stats", "save"],
        *["epoch", "stats"],  # nothing is left to continue from
    ]


def test_without_snapshots_and_callback_the_loop_only_trains():
    recorder = Recorder(epochs=2)
    assert train(recorder) == "result"
    assert recorder.calls == ["epoch", "epoch"]


def test_a_trained_population_is_not_trained_further():
    recorder = Recorder(epochs=0)
    assert train(recorder, snapshots=recorder) == "result"
    assert recorder.calls == ["restore"]


@pytest.mark.parametrize("call", ["fit", "evaluate"])
def test_wrong_arguments_are_refused_with_the_reason(call):
    run, data = config(), images()
    model = fit([run], data).model

    def called(configs, images):
        return fit(configs, images) if call == "fit" else evaluate(model, configs, images)

    for configs, pixels, words in (
        (run, data, r"\bRunConfig\b.*\[config\]"),
        ([run, "digits"], data, r"\bstr\b"),
        ([run], data.train, r"\bTensor\b.*\bload_images\b"),
        ([run], data.train.numpy(), r"\bndarray\b.*\bImages\b"),
    ):
        with pytest.raises(TypeError, match=words):
            called(configs, pixels)


def test_evaluation_refuses_other_runs_and_splits():
    run, data = config(), images()
    model = fit([run], data).model
    with pytest.raises(ValueError, match=r"\b2\b.*\b1\b"):
        evaluate(model, [run, run], data)
    with pytest.raises(ValueError, match="train, validation, test"):
        evaluate(model, [run], data, "tset")
