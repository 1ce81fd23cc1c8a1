"""Importance of settings in the dashboard: the numbers of the report, in the form of the dashboard."""

import json
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from dashboards import opened

from studies.analysis import load
from studies.dashboard import notes
from studies.report import build, tables
from studies.testing import synthetic
from studies.verify import rebuild

pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed (moevae[dashboard])")
pytest.importorskip("plotly", reason="plotly is not installed (moevae[dashboard])")

import optuna_dashboard

from studies.dashboard import importance, plots


def importances(app, study):
    """The answer of a WSGI application to the page's question for importances."""
    status, headers = [], {}

    def start(status_line, pairs, *_):
        status.append(status_line)
        headers.update(pairs)

    environ = {"PATH_INFO": f"/api/studies/{study}/param_importances"}
    setup_testing_defaults(environ)
    body = b"".join(app(environ, start))
    assert status == ["200 OK"]
    assert int(headers["Content-Length"]) == len(body)
    return json.loads(body)


def test_importances_and_the_plot_of_variance_show_the_numbers_of_the_report(tmp_path, undrawn):
    axes = {"objective.balance_weight": [0.0, 5.0, 20.0], "routing.kind": ["soft", "hard"]}
    folder = synthetic.write(tmp_path / "a", synthetic.plan(axes))
    page = build.write_report(folder).read_text()
    section = page.split("## Analysis of variance")[1].split("\n## ")[0]
    _, _, *rows = [line.strip("| ").split("|") for line in section.splitlines() if line.startswith("|")]
    expected = {(row[0].strip(), row[1].strip()): row[2].strip() for row in rows}
    figure = plots.shares(load.load_study(folder))
    shown = {
        (bar.name.split(" ")[0], effect): f"{share:.3f} [{share - below:.3f}, {share + above:.3f}]"
        for bar in figure.data
        for effect, share, below, above in zip(
            bar.y, bar.x, bar.error_x.arrayminus, bar.error_x.array, strict=True
        )
    }
    assert shown == expected
    assert len(expected) == 2 * 3
    rebuild.rebuild(folder)
    with opened(folder) as (there, opt):
        app = importance.as_in_report(optuna_dashboard.wsgi(there), there, folder)
        (ours,) = importances(app, opt._study_id)["param_importances"]
    names = tables.axis_names(axes)
    assert [f"{each['importance']:.3f}" for each in ours] == sorted(
        (expected["ELBO", names[axis]].split(" ")[0] for axis in axes), reverse=True
    )
    for each in ours:
        assert expected["ELBO", names[each["name"]]].startswith(f"{each['importance']:.3f} [")


def test_without_a_grid_there_is_no_plot_of_variance(tmp_path):
    cells = [{"objective.balance_weight": 1.5 * i, "routing.temperature": 0.3 + i} for i in range(4)]
    axes = {key: [cell[key] for cell in cells] for key in cells[0]}
    plan = synthetic.plan(axes, cells=cells, baseline=cells[0], seeds=[0, 1])
    assert plots.shares(load.load_study(synthetic.write(tmp_path, plan))) is None


def test_importances_have_the_form_of_the_dashboards_own(tmp_path):
    axes = {
        "objective.balance_weight": [0.0, 20.0],
        "model.num_experts": [10],
        "routing.kind": ["soft", "hard"],
    }
    folder = synthetic.write(tmp_path / "made-up", synthetic.plan(axes))
    rebuild.rebuild(folder)
    with opened(folder) as (there, study):
        app = optuna_dashboard.wsgi(there)
        own = importances(app, study._study_id)
        shown = importances(importance.as_in_report(app, there, folder), study._study_id)
    assert shown != own
    assert shown.keys() == own.keys()
    (shown,), (own,) = shown["param_importances"], own["param_importances"]
    there = {each["name"]: each for each in own}
    assert len(shown) == len(there) == len(axes)
    for each in shown:
        twin = there[each["name"]]
        assert each | {"importance": 0} == twin | {"importance": 0}
        assert type(each["importance"]) is type(twin["importance"])
        assert (each["importance"] == 0) >= (each["name"] == "model.num_experts")


def test_records_are_read_again_only_if_they_changed(folder, monkeypatch):
    read, loaded = load.load_study, []
    monkeypatch.setattr(load, "load_study", lambda folder: loaded.append(folder) or read(folder))
    with opened(folder) as (there, study):
        shown = importance.as_in_report(optuna_dashboard.wsgi(there), there, folder)
        first = importances(shown, study._study_id)
        assert importances(shown, study._study_id) == first
        assert len(loaded) == 1
        sorted((folder / "records").glob("*.json"))[0].unlink()
        importances(shown, study._study_id)
        assert len(loaded) == 2


def test_the_dashboard_answers_itself_where_the_report_has_no_shares(folder, tmp_path):
    with opened(folder) as (there, study):
        other = optuna.create_study(study_name="other", storage=there)
        for value in range(4):
            trial = other.ask()
            other.tell(trial, trial.suggest_float("x", 0, 1) + value)
        app = optuna_dashboard.wsgi(there)
        shown = importance.as_in_report(app, there, folder)
        assert importances(shown, other._study_id) == importances(app, other._study_id)
        assert importances(shown, study._study_id) != importances(app, study._study_id)
        as_search(folder)
        assert importances(shown, study._study_id) == importances(app, study._study_id)
    assert importance.shares(load.load_study(folder)) == {}
    several = synthetic.plan({"data.name": ["mnist", "digits"], "routing.kind": ["soft", "hard"]})
    assert importance.shares(load.load_study(synthetic.write(tmp_path / "several", several))) == {}
    cross = [
        {"routing.kind": "soft", "routing.temperature": 1.0},
        {"routing.kind": "hard", "routing.temperature": 1.0},
    ]
    cross += [{"routing.kind": "soft", "routing.temperature": 2.0}]
    plan = synthetic.plan(
        {"routing.kind": ["soft", "hard"], "routing.temperature": [1.0, 2.0]}, cells=cross, baseline=cross[0]
    )
    assert importance.shares(load.load_study(synthetic.write(tmp_path / "cross", plan))) == {}


def as_search(folder):
    """Change the description of a study into that of a search."""
    tree = json.loads((folder / "study.json").read_text())
    part = {"space": {}, "objectives": ["mixture_elbo"]}
    (folder / "study.json").write_text(json.dumps(tree | {"search": part}))


def test_a_note_names_the_source_of_importances(folder):
    assert notes.IN_REPORT in notes.of_study(load.load_study(folder))
    as_search(folder)
    assert notes.PED_ANOVA in notes.of_study(load.load_study(folder))
