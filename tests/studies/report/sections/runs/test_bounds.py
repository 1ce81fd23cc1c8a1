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
    tree, files = synthetic.record(config, pictures=False)
    found = {name: value - config.seed for name, value in BOUNDS.items()}
    return {**tree, "metrics": {**tree["metrics"], "test": tree["metrics"]["test"] | found}}, files


def test_bounds_are_shown_by_their_number_of_samples(tmp_path, undrawn):
    page = write_report(synthetic.write(tmp_path, PLAN, made)).read_text()
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if line.startswith("|") and ("S/100" in line or "-32.50" in line)
    ]
    assert [cell.split(" (")[0] for cell in rows[0][-5:]] == [
        "IWAE bound, S/100",
        "IWAE bound, S/10",
        "IWAE bound",
        "IWAE effective samples",
        "IWAE effective samples, lowest 1 %",
    ]
    assert [cell.split()[0] for cell in rows[1][-5:]] == ["-32.50", "-31.75", "-31.25", "811.5", "2.5"]


def test_without_effective_samples_there_is_no_such_table(tmp_path, undrawn):
    page = write_report(synthetic.write(tmp_path, PLAN)).read_text()
    assert "S/100" not in page
