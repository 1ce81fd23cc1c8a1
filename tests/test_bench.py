"""The benchmarks run at their smallest sizes and give a page; speed is not tested."""

import copy
import json
import os
import re
import subprocess
import sys

import pytest
import torch

SMALLEST = (
    "(test_batch and 16-soft and not bfloat16) or test_small or test_bernoulli or test_tf32"
    " or (test_architecture and top-1)"
)


@pytest.fixture(scope="module")
def bench(pytestconfig):
    return pytestconfig.rootpath / "bench"


INTERRUPTING = """
import os, signal
import steps
from timer import Stopwatch

measured, check = Stopwatch._seconds, steps.check

def wrong(*losses):
    check(*losses)
    assert "test_small[2]" not in os.environ["PYTEST_CURRENT_TEST"]

def interrupting(self, step):
    if "test_evaluation" in os.environ["PYTEST_CURRENT_TEST"] and self.benchmark.stats is not None:
        os.kill(os.getpid(), signal.SIGINT)
    return measured(self, step)

Stopwatch._seconds, steps.check = interrupting, wrong
"""


@pytest.fixture(scope="module")
def measured(bench, tmp_path_factory):
    """The JSON file of a run of a few benchmarks, one wrong, stopped by Ctrl-C in the last of them."""
    folder = tmp_path_factory.mktemp("bench")
    plugins = tmp_path_factory.mktemp("plugins")
    (plugins / "interrupting.py").write_text(INTERRUPTING)
    path = folder / "throughput-cpu.json"
    done = benchmarks(
        bench,
        *("-k", f"{SMALLEST} or test_evaluation", "-p", "interrupting", f"--benchmark-json={path}"),
        PYTHONPATH=os.pathsep.join([str(plugins), str(bench), str(bench.parent)]),
    )
    assert done.returncode == 2, done.stdout + done.stderr
    return path


def benchmarks(bench, *arguments, **variables):
    """Run benchmarks at their smallest."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(bench), "--size", "tiny"]
    return subprocess.run(
        [*command, *arguments],
        cwd=bench.parent,
        # A session of pytest-xdist would pass its settings on, and under it benchmarks do not run.
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | variables,
        capture_output=True,
        text=True,
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_steps_replayed_as_cuda_graphs_give_the_eager_losses(bench):
    """The benchmark itself compares the losses, to the tolerance that it states."""
    done = benchmarks(bench, "-k", "test_compiled and not tf32", "--device", "cuda")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def report(bench, *arguments):
    command = [sys.executable, str(bench / "report.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_an_interrupt_keeps_the_rows_before_it(measured):
    names = [row["name"] for row in json.loads(measured.read_text())["benchmarks"]]
    assert {"test_small[1]", "test_batch[16-soft]"} <= set(names)
    assert not any("test_evaluation" in name for name in names)


def test_a_failed_benchmark_has_no_speed(bench, measured):
    found = json.loads(measured.read_text())
    assert "test_small[2]" not in [row["name"] for row in found["benchmarks"]]
    assert "small[2]: failed" in found["origin"]["left_out"]


def test_a_row_contains_all_that_a_table_needs(measured):
    found = json.loads(measured.read_text())
    rows = {entry["name"]: entry["extra_info"] for entry in found["benchmarks"]}
    row = rows["test_batch[16-soft]"]
    assert row["images_per_second"] == pytest.approx(16 / row["seconds"]["median"])
    assert row["ratio_to_naive"]["n"] == row["rounds"] == 2
    # Three products a layer, of inputs times outputs times two operations, but two in layers that see pixels.
    pixels, hidden, latent, gate, experts = 36, 16, 2, 16, 3
    expert = 2 * pixels * hidden + 3 * (hidden * 2 * latent + latent * hidden + hidden * pixels)
    assert row["flops_per_image"] == 2 * (experts * expert + 2 * pixels * gate + 3 * gate * experts)
    assert 0 < row["share_of_peak"] < 1
    assert {"device", "dtype", "threads", "unit", "peak_memory_mib"} <= row.keys()
    assert {"commit", "versions", "hardware", "load_average"} <= found["origin"].keys()
    assert "machine_info" not in found


def test_the_page_is_made_from_the_file_alone(bench, measured):
    done = report(bench, "--results", measured.parent)
    assert done.returncode == 0, done.stderr
    page = (measured.parent / "throughput.md").read_text()
    assert "How fast is a training step?" in page
    assert "- GPU (CUDA): no results" in page
    assert re.search(r"^- cpu: TensorFloat-32: on CUDA alone\.$", page, re.MULTILINE)
    row = json.loads(measured.read_text())["benchmarks"]
    (row,) = (entry["extra_info"] for entry in row if entry["name"] == "test_batch[16-soft]")
    cells = [
        cell.strip() for line in page.splitlines() if line.startswith("| soft ") for cell in line.split("|")
    ]
    shown = f"{row['ratio_to_naive']['median']:.2f}×, "
    assert any(shown in cell for cell in cells)
    for name in [line.split("](")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")]:
        assert (measured.parent / name).read_bytes().startswith(b"\x89PNG")


def test_a_ratio_that_fell_is_flagged(bench, measured, tmp_path):
    found = json.loads(measured.read_text())
    fallen = copy.deepcopy(found)
    for entry in fallen["benchmarks"]:
        if "ratio_to_naive" in entry["extra_info"]:
            entry["extra_info"]["ratio_to_naive"]["median"] *= 0.8
    (tmp_path / "new.json").write_text(json.dumps(fallen))
    same = report(bench, "--results", measured.parent, "--compare", measured)
    worse = report(bench, "--results", measured.parent, "--compare", tmp_path / "new.json")
    assert (same.returncode, worse.returncode) == (0, 1)
    assert worse.stdout.startswith("test_batch[16-soft]: ")


def test_targets_of_shares_and_memory_stand_beside_those_of_ratios(bench, measured, tmp_path):
    found = json.loads(measured.read_text())
    (row,) = (entry for entry in found["benchmarks"] if entry["name"] == "test_batch[16-soft]")
    reached = row["extra_info"]["share_of_peak"]
    for factor, met in ((0.5, True), (2, False)):
        entry = copy.deepcopy(row)
        entry["extra_info"]["target_share"] = factor * reached
        kept = {"name": "kept", "group": None, "stats": {"median": 1.0}}
        kept["extra_info"] = {"what": "a look", "seconds": 1.0, "peak_memory_mib": 8}
        kept["extra_info"]["limit_mib"] = 16 if met else 4
        (tmp_path / "throughput-cpu.json").write_text(json.dumps(found | {"benchmarks": [entry, kept]}))
        assert report(bench, "--results", tmp_path).returncode == 0
        page = (tmp_path / "throughput.md").read_text()
        assert ("**Every measured target is met.**" in page) == met
        assert ("**8 MiB**" in page) != met


def test_a_question_about_growth_is_answered_by_the_power_of_time(bench, measured, tmp_path):
    found = json.loads(measured.read_text())
    (row,) = (entry for entry in found["benchmarks"] if entry["name"] == "test_batch[16-soft]")
    made = [copy.deepcopy(row) for _ in range(3)]
    for step, entry in enumerate(made):
        entry |= {"group": "training step by number of experts", "name": f"test_experts[{step}]"}
        entry["extra_info"] |= {"facts": {"experts": 4**step}}
        entry["extra_info"]["seconds"] = dict.fromkeys(("median", "q1", "q3"), 2.0**step)
    (tmp_path / "throughput-cpu.json").write_text(json.dumps(found | {"benchmarks": made}))
    assert report(bench, "--results", tmp_path).returncode == 0
    _, section = (tmp_path / "throughput.md").read_text().split("grow with the number of experts?")
    assert "0.50 (soft)" in section.split("\n\n")[1]


def test_only_memory_that_grows_at_every_step_has_a_slope(bench, measured, tmp_path):
    found = json.loads(measured.read_text())
    (row,) = (entry for entry in found["benchmarks"] if entry["name"] == "test_batch[16-soft]")
    for name, peaks in (("grows", (5, 9, 17)), ("stays", (5, 11, 11))):
        made = [copy.deepcopy(row) for _ in peaks]
        for step, (entry, peak) in enumerate(zip(made, peaks, strict=True)):
            entry["name"] = f"test_batch[{16 << step}-soft]"
            entry["extra_info"]["facts"]["batch"] = 16 << step
            entry["extra_info"]["peak_memory_mib"] = peak
        (tmp_path / "throughput-cpu.json").write_text(json.dumps(found | {"benchmarks": made}))
        assert report(bench, "--results", tmp_path).returncode == 0
        page = (tmp_path / "throughput.md").read_text()
        assert "power" in page
        assert ("MiB each" in page) == (name == "grows")


def test_a_report_without_measurements_is_one_line(bench, tmp_path):
    done = report(bench, "--results", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no throughput-*.json" in done.stderr


def test_another_machine_is_added_with_a_figure_of_its_own(bench, measured, tmp_path):
    found = json.loads(measured.read_text())
    (tmp_path / "throughput-cpu.json").write_text(json.dumps(found))
    found["origin"] |= {"machine": "old", "instructions": "AVX"}
    (tmp_path / "throughput-cpu-old.json").write_text(json.dumps(found))
    assert report(bench, "--results", tmp_path).returncode == 0
    lines = (tmp_path / "throughput.md").read_text().splitlines()
    heads = [line for line in lines if line.startswith("|") and "| batch size" in line]
    assert all("| cpu-old" in head and "| cpu  " in head for head in heads)
    assert heads
    plots = [line for line in lines if line.startswith("![")]
    assert len(plots) == len(set(plots)) == len(list((tmp_path / "throughput").glob("*.png")))
