"""The section on baselines."""

from moevae.config import overrides
from studies.report import build
from studies.testing import synthetic


def test_derived_values_of_a_baseline_are_shown_with_their_number_of_runs(undrawn, tmp_path):
    folder = synthetic.write(tmp_path / "s", synthetic.plan(seeds=[0, 1, 2, 3]))
    for seed in (0, 1, 2, 3):
        config = overrides.override(overrides.from_dict(synthetic.plan()["base"]), {"seed": seed})
        tree, files = synthetic.baseline(config, "theirs")
        tree["method"]["derived"] = {
            "found": 10 + seed // 3,
            "share": 0.5 + seed / 8,
            "size": 4,
            "steps": 9 - seed,
        }
        synthetic.put(folder, tree, files)
    text = build.write_report(folder).read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("- theirs")]
    metrics = dict(part.split(": ") for part in line.removeprefix("- theirs: ").split("; "))
    assert metrics == {
        "found": "10 (3 of 4 runs), 11 (1 of 4 runs)",
        "share": "0.5 to 0.875",
        "size": "4",
        "steps": "6 to 9",
    }
