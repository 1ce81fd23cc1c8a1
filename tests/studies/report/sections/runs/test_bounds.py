"""The table of IWAE bounds by the number of samples, from records whose bounds are made by hand."""

from moevae.config.overrides import override
from moevae.config.presets import digits
from studies.report.build import write_report
from studies.testing import synthetic

PLAN = synthetic.plan({"routing.kind": ["soft"]}, base=override(digits(), {"evaluation.iwae_samples": 5000}))
BOUNDS = {
    "iwae_bound_hundredth": -31.5,
    "iwae_bound_tenth": -30.75,
    "iwae_bound": -30.25,
    "iwae_ess": 812.5,
    "iwae_ess_tail": 3.5,
}


def made(config):
    """Return a record whose training takes 2, 4 or 50 minutes of a core, and whose evaluation half of it."""
    tree, files = synthetic.record(config, pictures=False)
    found = {name: value - config.seed for name, value in BOUNDS.items()}
    minutes, runs, threads = (2, 4, 50)[config.seed], 3, 2
    seen = tree["data"]["train"] * config.train.epochs
    times = {
        "throughput": {
            "train_images_per_second": seen * threads / (60 * minutes),
            "evaluation_images_per_second": 1.0,
            "population": runs,
        },
        "seconds": {"train": 1.0, "evaluation": 60 * minutes / 2 * runs / threads},
        "hardware": tree["hardware"] | {"threads": threads},
    }
    return {**tree, **times, "metrics": {**tree["metrics"], "test": tree["metrics"]["test"] | found}}, files


def on_gpu(config):
    tree, files = made(config)
    device = "cuda" if config.seed else "cpu"
    return {**tree, "hardware": tree["hardware"] | {"device": device}}, files


def table(page):
    """Return the last seven columns of the heading and of the row of the table of bounds by samples."""
    return [
        [cell.strip() for cell in line.split("|")[-8:-1]]
        for line in page.read_text().splitlines()
        if line.startswith("|") and ("S/100" in line or "-32.50" in line)
    ]


def test_bounds_are_shown_by_their_number_of_samples_with_the_minutes_of_the_median_run(tmp_path, undrawn):
    heading, row = table(write_report(synthetic.write(tmp_path, PLAN, made)))
    assert heading == [
        "IWAE bound, S/100 (nats)",
        "IWAE bound, S/10 (nats)",
        "IWAE bound (nats)",
        "IWAE effective samples",
        "IWAE effective samples, lowest 1 %",
        "training (minutes of a core)",
        "evaluation (minutes of a core)",
    ]
    assert [cell.split()[0] for cell in row] == ["-32.50", "-31.75", "-31.25", "811.5", "2.5", "4.0", "2.0"]


def test_minutes_count_every_pass_over_few_images(tmp_path, undrawn):
    base = override(
        digits(), {"evaluation.iwae_samples": 5000, "train.batch_size": 1000, "train.min_steps": 300}
    )
    plan = synthetic.plan({"routing.kind": ["soft"]}, base=base)
    _, row = table(write_report(synthetic.write(tmp_path, plan, made)))
    assert base.train.epochs == 30  # one step for each pass
    assert row[-2:] == ["40.0", "2.0"]


def test_runs_on_a_gpu_have_no_minutes_of_a_core(tmp_path, undrawn):
    _, row = table(write_report(synthetic.write(tmp_path, PLAN, on_gpu)))
    assert row[-2:] == ["–", "–"]


def test_without_effective_samples_there_is_no_such_table(tmp_path, undrawn):
    page = write_report(synthetic.write(tmp_path, PLAN)).read_text()
    assert "S/100" not in page
