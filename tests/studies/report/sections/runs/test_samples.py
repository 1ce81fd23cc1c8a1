"""The table of distances of samples from training images, from records made by hand."""

import hashlib

import numpy as np

from moevae.config.overrides import override
from moevae.config.presets import digits
from studies.analysis.load import load_study
from studies.report.build import write_report
from studies.report.sections.runs.examples import shown_pictures
from studies.testing import synthetic

PLAN = synthetic.plan({"routing.kind": ["soft"]}, base=override(digits(), {"evaluation.iwae_samples": 50}))
FOUND = {
    "iwae_bound": -30.25,
    "sample_distance": 61.5,
    "test_distance": 72.5,
    "sample_distance_lowest": 22.0,
    "test_distance_lowest": 11.0,
}


def made(config):
    tree, files = synthetic.record(config)
    (name,) = files
    picture = tree["pictures"]["samples"]
    other = name.replace("samples", "neighbors")
    rows = ["sample", "nearest training image", "test image"]
    content = synthetic.samples(len(picture["columns"]), np.random.default_rng(1), rows=3)
    tree["pictures"]["neighbors"] = picture | {
        "file": other,
        "rows": rows,
        "sha256": hashlib.sha256(content).hexdigest(),
        "experts": [0] * len(picture["columns"]),
    }
    found = {name: value + config.seed for name, value in FOUND.items()}
    return {**tree, "metrics": {**tree["metrics"], "test": tree["metrics"]["test"] | found}}, files | {
        other: content
    }


def test_distances_of_samples_stand_beside_those_of_test_images(tmp_path, undrawn):
    folder = synthetic.write(tmp_path, PLAN, made)
    page = write_report(folder).read_text()
    part = page[page.index("Samples and the training images") :]
    head, row = (
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in [line for line in part.splitlines() if line.startswith("|")][:3:2]
    )
    distances = dict(
        zip((cell.split(" (")[0] for cell in head), (cell.split()[0] for cell in row), strict=True)
    )
    mean = sum(PLAN["seeds"]) / len(PLAN["seeds"])
    assert distances["median distance of samples"] == f"{61.5 + mean:.1f}"
    assert distances["median distance of test images"] == f"{72.5 + mean:.1f}"
    assert distances["lowest distance of samples"] == f"{22 + mean:.1f}"
    assert distances["lowest distance of test images"] == f"{11 + mean:.1f}"
    assert sum("neighbors" in name for name in shown_pictures(load_study(folder))) == 2  # best and worst
    assert "cannot be shown" not in page


def test_older_records_have_no_such_section(tmp_path, undrawn):
    page = write_report(synthetic.write(tmp_path, PLAN)).read_text()
    assert "Samples and the training images" not in page
