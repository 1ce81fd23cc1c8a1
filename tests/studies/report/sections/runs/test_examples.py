"""Which runs the page draws: the ends by the criterion, and the best with templates."""

import hashlib
import io
import re

import numpy as np
import pytest
from PIL import Image

from moevae.visualization import maps
from studies.analysis.load import load_study
from studies.report.build import write_report
from studies.report.sections.runs.examples import shown_pictures
from studies.testing import synthetic

AXES = {"model.decoder": ["network", "deformable"], "objective.balance_weight": [0.0, 5.0, 20.0]}


def page_and_pictures(tmp_path, elbo, deformable):
    """A study of six runs whose ELBO is given by decoder and balance weight; some runs have templates."""

    def made(config):
        key = config.model.decoder, config.objective.balance_weight
        noise = np.random.default_rng(0)
        numbers = synthetic.numbers(config, noise) | {"mixture_elbo": elbo[key]}
        tree, files = synthetic.record(config, metrics=numbers)
        (name,) = files
        if key in deformable:
            other = name.replace("samples", "templates")
            picture = {**tree["pictures"]["samples"], "file": other}
            tree["pictures"]["templates"], files[other] = picture, files[name]
        return tree, files

    folder = synthetic.write(tmp_path, synthetic.plan(AXES, seeds=[0]), made)
    page = write_report(folder).read_text()
    shown = re.findall(r"\*\*The ([\w ]+) run\*\*.*?: cell (\d)", page)
    return shown, shown_pictures(load_study(folder))


NETWORK = {("network", weight): -20.0 - weight / 10 for weight in (0, 5, 20)}
ALL = {("deformable", weight) for weight in (0, 5, 20)}


@pytest.mark.parametrize(
    ("offset", "drawn", "shown"),
    [
        (-25.0, ALL, [("best", "1"), ("worst", "6"), ("best deformable", "4")]),
        (-25.0, set(), [("best", "1"), ("worst", "6")]),
        (-25.0, {("deformable", 20)}, [("best", "1"), ("worst", "6")]),
        (-15.0, ALL, [("best", "4"), ("worst", "3")]),
    ],
)
def test_the_best_run_with_templates_is_drawn_if_the_best_has_none(tmp_path, undrawn, offset, drawn, shown):
    elbo = NETWORK | {("deformable", weight): offset - weight / 10 for weight in (0, 5, 20)}
    found, pictures = page_and_pictures(tmp_path, elbo, drawn)
    assert found == shown
    assert sum("templates" in name for name in pictures) == (
        sum(cell in "456" for _, cell in shown) if drawn == ALL else len(drawn)
    )


def test_the_caption_of_a_map_names_its_projection(tmp_path, undrawn):
    methods = {0: None, 1: "pca", 2: "umap"}  # by seed; older records name none
    content = io.BytesIO()
    Image.fromarray(maps.as_table(np.eye(2), [np.zeros(2, int)])).save(content, format="PNG")

    def made(config):
        numbers = synthetic.numbers(config, np.random.default_rng(0)) | {"mixture_elbo": -float(config.seed)}
        tree, files = synthetic.record(config, metrics=numbers)
        (name,) = files
        other = name.replace("samples", "map")
        tree["pictures"]["map"] = {
            **tree["pictures"]["samples"],
            **{"file": other, "rows": ["x", "y", "expert"], "columns": ["images"], "tile": (1, 2)},
            **{"method": methods[config.seed], "sha256": hashlib.sha256(content.getvalue()).hexdigest()},
        }
        return tree, files | {other: content.getvalue()}

    folder = synthetic.write(
        tmp_path, synthetic.plan({"objective.balance_weight": [5.0]}, seeds=[0, 1, 2]), made
    )
    page = write_report(folder).read_text()
    assert re.findall(r"projected by (\w+)", page) == ["PCA", "UMAP"]  # of the best and the worst run
