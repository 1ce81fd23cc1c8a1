"""The training loop: the order of its steps."""

from moevae.training.fit import train


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
