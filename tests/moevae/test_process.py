"""Library calls leave no process-wide state changed."""

import contextlib
import gc
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from small import config, images

import moevae
from moevae.cli.process import exit_code
from moevae.training import trainer
from moevae.utils import devices
from studies.execution.config import ExecutionConfig
from studies.execution.run import run_population

TINY = {
    "data.train_size": 64,
    "model.num_experts": 2,
    "model.expert_hidden": [8],
    "model.gate_hidden": [8],
    "train.epochs": 1,
}


def _flushing() -> bool:
    return (torch.tensor([1e-39]) * 0.5).item() == 0


def _process() -> tuple[object, ...]:
    """Return the process-wide state that can be read."""
    return (
        _flushing(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.random.get_rng_state().tolist(),
        dict(os.environ),
        gc.isenabled(),
        gc.get_threshold(),
        warnings.formatwarning,
        list(warnings.filters),
    )


def _fit_and_evaluate() -> None:
    fit = moevae.fit([config()], images())
    moevae.evaluate(fit.model, fit.configs, images())


def _run() -> None:
    base = moevae.override(moevae.preset("digits"), TINY)
    (outcome,) = run_population([base], ExecutionConfig("cpu", threads=1))
    assert outcome.record.failure is None
    assert outcome.record.hardware.threads == 1


@pytest.mark.parametrize("work", [_fit_and_evaluate, _run, lambda: exit_code(lambda: 0)])
def test_a_call_leaves_the_process_as_it_was(work, one_thread_again):
    work()  # loads what it needs
    torch.set_num_threads(2)
    torch.set_flush_denormal(False)
    before = _process()
    work()
    assert _process() == before


def test_fit_and_evaluate_leave_the_allocator_alone(monkeypatch):
    monkeypatch.setattr(devices, "keep_freed_memory", lambda: pytest.fail("the allocator was changed"))
    _fit_and_evaluate()


def test_training_and_evaluation_flush_denormals(monkeypatch):
    seen = []
    step, score = trainer.Trainer.step, moevae.models.mixture.Mixture.forward

    def watched(real):
        def function(*args, **options):
            seen.append(_flushing())
            return real(*args, **options)

        return function

    monkeypatch.setattr(trainer.Trainer, "step", watched(step))
    monkeypatch.setattr(moevae.models.mixture.Mixture, "forward", watched(score))
    fit = moevae.fit([config()], images(), on_epoch=lambda stats: seen.append(not _flushing()))
    count = len(seen)
    moevae.evaluate(fit.model, fit.configs, images())
    assert len(seen) > count > 0
    assert all(seen)


def _imported(script: str, **variables: str) -> list[str]:
    names = ("OMP_WAIT_POLICY", "MKL_CBWR", "PYTHONWARNINGS")
    environment = {name: value for name, value in os.environ.items() if name not in names} | variables
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return [line for line in done.stderr.splitlines() if "UserWarning" in line]


def test_a_warning_states_that_torch_was_imported_first():
    stub = "import sys, types; sys.modules['torch'] = types.ModuleType('torch'); import moevae"
    (line,) = _imported(stub)
    assert "OMP_WAIT_POLICY and MKL_CBWR" in line
    (line,) = _imported(stub, OMP_WAIT_POLICY="PASSIVE")
    assert "OMP_WAIT_POLICY" not in line
    assert "MKL_CBWR" in line
    assert not _imported(stub, OMP_WAIT_POLICY="ACTIVE", MKL_CBWR="AUTO")
    assert not _imported("import moevae")


def fail(error):
    raise error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        lambda: torch.empty(1 << 50),
    ],
    ids=["Python", "GPU", "CPU"],
)
def test_too_little_memory_is_one_line_with_exit_code_2(error, capsys):
    assert exit_code(lambda: error() if callable(error) else fail(error)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out of memory")
    assert "train.batch_size" in line


def test_another_error_of_torch_stays_a_traceback():
    with pytest.raises(RuntimeError, match="size"):
        exit_code(lambda: torch.zeros(2) @ torch.zeros(3) and 0)


def many_files():
    """Open more files than the limit allows."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(256):
                stack.enter_context(Path(os.devnull).open())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def no_temporary_folder():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/dev/null/absent"])
        patch.setattr(tempfile, "tempdir", None)
        tempfile.mkdtemp()


def no_folder_of_matplotlib():
    fail(OSError("Matplotlib requires a writable cache directory; set MPLCONFIGDIR"))


@pytest.mark.parametrize(
    ("work", "message"),
    [(many_files, "ulimit"), (no_temporary_folder, "TMPDIR"), (no_folder_of_matplotlib, "TMPDIR")],
)
def test_a_place_that_lacks_something_is_one_line_with_exit_code_2(work, message, capfd):
    assert exit_code(work) == 2
    print("still open")
    assert capfd.readouterr().out == "still open\n"
    assert exit_code(work) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_link_to_itself_is_one_line_with_exit_code_2(tmp_path, capsys):
    (tmp_path / "link").symlink_to("link")
    code = exit_code(lambda: bool((tmp_path / "link").resolve(strict=True)))
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert str(tmp_path / "link") in line
