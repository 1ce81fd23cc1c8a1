"""Compiled steps (on a GPU, CUDA graphs) and steps in TensorFloat-32, compared with unchanged steps."""

import flops
import pytest
import torch
from steps import PATHS, check, dtype_of, training_step

TOLERANCE = {"soft": 1e-4, "soft, bfloat16": 1e-2}
"""Relative tolerance of the first losses: compiled code adds in another order."""


def versus_eager(measure, device, plan, path, row, step, **how):
    """Time a step and the eager float32 or bfloat16 step; return both sequences of losses."""
    sizes, changes, theirs = plan.mixture, PATHS[path], []
    eager = training_step(sizes, device, changes)
    losses = measure(
        row,
        step,
        images=sizes.batch,
        flops=flops.training(sizes),
        versus=lambda: theirs.append(eager()),
        dtype=dtype_of(changes),
        **how,
    )
    check(losses, sizes)
    return torch.stack(losses), torch.stack(theirs)


@pytest.mark.benchmark(group="training step, compiled against eager")
@pytest.mark.parametrize("path", TOLERANCE)
def test_compiled(measure, device, plan, path):
    if device.type == "cpu" and path != "soft":
        pytest.skip(
            "compiled bfloat16: on CUDA alone, a minute of compiling for a step that is slower on a CPU"
        )
    step = training_step(plan.mixture, device, PATHS[path], compiled=True)
    losses, theirs = versus_eager(measure, device, plan, path, f"{path}, compiled", step)
    torch.testing.assert_close(losses[:3], theirs[:3], rtol=TOLERANCE[path], atol=0)


@pytest.mark.benchmark(group="training step, TensorFloat-32 against float32")
def test_tf32(measure, device, plan):
    if device.type != "cuda":
        pytest.skip("TensorFloat-32: on CUDA alone")
    step = training_step(plan.mixture, device)
    losses, theirs = versus_eager(measure, device, plan, "soft", "soft, TensorFloat-32", step, tf32=True)
    torch.testing.assert_close(losses[:3], theirs[:3], rtol=1e-2, atol=0)
