import io
import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from dashboards import AXES, fetch, opened, running
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import TrialState
from PIL import Image

from moevae.config import overrides
from studies import __main__ as cli
from studies.analysis import load
from studies.dashboard import artifacts, notes
from studies.execution.executors.base import in_process
from studies.records import schema
from studies.search import search as searches
from studies.search.run import Budget, run_search
from studies.testing import synthetic, toys

pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed (moevae[dashboard])")
pytest.importorskip("plotly", reason="plotly is not installed (moevae[dashboard])")


from studies.analysis.metrics import ELBO, NMI
from studies.dashboard import importance, plots
from studies.dashboard.annotate import write_annotations
from studies.dashboard.server import PortError, serving


def test_the_dashboard_answers_with_notes_pictures_and_plots(folder):
    with running(folder) as (address, study):
        _, body = fetch(f"{address}/api/studies/{study._study_id}")
        answer = json.loads(body)
        assert answer["objective_names"] == ["mixture ELBO (nats per image, validation)"]
        assert len(answer["plotly_graph_objects"]) == 3
        assert "Balancing, temperature and routing on digits" in answer["note"]["body"]
        for trial in answer["trials"]:
            assert len(trial["intermediate_values"]) == 4
            files = [artifact["filename"] for artifact in trial["artifacts"]]
            assert files == ["samples-seed-0.png", "confusion-seed-0.png"]
            for artifact in trial["artifacts"]:
                place = f"/artifacts/{study._study_id}/{trial['trial_id']}/{artifact['artifact_id']}"
                kind, content = fetch(address + place)
                assert kind == "image/png"
                assert min(Image.open(io.BytesIO(content)).size) > 200
                assert place in trial["note"]["body"]


def test_a_note_states_how_the_cell_differs_and_what_it_gave(folder):
    study = load.load_study(folder)
    with opened(folder) as (there, found):
        write_annotations(there, folder)
        attributes = there.get_study_system_attrs(found._study_id)
    trials = found.get_trials()
    for number, cell in enumerate(study.cells):
        runs = [run.metrics["test.nmi"] for run in study.of_cell(number)]
        note = attributes[f"dashboard:{trials[number]._trial_id}:note_str:0"]
        assert f"{np.mean(runs):.3f} ± {np.std(runs, ddof=1):.3f}" in note
        assert "n = 2 (seeds 0, 1)" in note
        assert ("This is the reference cell." in note) == (number == study.reference)
        if number != study.reference:
            (changed,) = re.findall("Differs from the reference cell in (.*)", note)
            assert changed.count("(not ") == sum(
                a != b for a, b in zip(cell, study.cells[study.reference], strict=True)
            )
        command = re.search("```sh\n(.*?)\n```", note, re.DOTALL)[1]
        assert f"--set objective.balance_weight={cell[0]}" in command
        assert all(line.endswith("\\") for line in command.splitlines()[:-1])


def test_the_command_of_a_cell_of_a_named_study_is_that_of_another_study(folder):
    study = replace(
        load.load_study(folder), command="nox -s ablations -- --profile p --name 'my s' --seeds 2"
    )
    command = notes.command_of(study, 0)
    assert command.startswith("nox -s ablations -- --profile p --seeds 2 --set ")


def test_annotating_twice_changes_nothing_and_new_records_are_shown(folder):
    with opened(folder) as (there, study):
        assert write_annotations(there, folder) > 8
        assert write_annotations(there, folder) == 0
        config = overrides.override(
            synthetic.digits(), {"train.epochs": 4, "objective.balance_weight": 20, "seed": 7}
        )
        synthetic.put(folder, *synthetic.record(config))
        assert 0 < write_annotations(there, folder) < 12
        attributes = there.get_study_system_attrs(study._study_id)
        assert sum("seeds 0, 1, 7" in str(value) for value in attributes.values()) == 1
        assert write_annotations(there, folder) == 0


def test_edited_notes_are_kept(folder):
    from optuna_dashboard import get_note, save_note

    with opened(folder) as (there, study):
        save_note(study, "mine")
        write_annotations(there, folder)
        assert get_note(study) == "mine"
        trial = study.get_trials()[0]
        key = f"dashboard:{trial._trial_id}:note_str:0"
        there.set_study_system_attr(study._study_id, key, "changed")
        assert write_annotations(there, folder) == 0
        assert there.get_study_system_attrs(study._study_id)[key] == "changed"


def test_annotations_change_no_trial(folder):
    with opened(folder) as (there, study):
        before = study.get_trials()
        write_annotations(there, folder)
        assert study.get_trials() == before


def test_a_grid_shows_each_cells_mean_at_its_place(folder):
    study = load.load_study(folder)
    figure = plots.strength(study, NMI)
    assert [panel.text for panel in figure.layout.annotations] == ["routing kind soft", "routing kind hard"]
    for panel, kind in zip(figure.data, ("soft", "hard"), strict=True):
        for row, temperature in enumerate(("0.5", "1")):
            for column, weight in enumerate(("0", "20")):
                cell = study.cells.index((float(weight), float(temperature), kind))
                runs = [run.metrics["test.nmi"] for run in study.of_cell(cell)]
                assert panel.z[row][column] == pytest.approx(np.mean(runs))
                assert (panel.x[column], panel.y[row]) == (weight, temperature)


def test_cells_of_a_search_are_points_and_one_axis_is_no_plot(tmp_path):
    cells = [{"objective.balance_weight": 1.5 * n, "routing.temperature": 0.1 * n} for n in range(1, 15)]
    axes = {key: [cell[key] for cell in cells] for key in cells[0]}
    study = load.load_study(synthetic.write(tmp_path / "a", synthetic.plan(axes, cells=cells, seeds=(0,))))
    (points,) = plots.strength(study, ELBO).data
    assert list(points.x) == axes["objective.balance_weight"]
    assert list(points.y) == axes["routing.temperature"]
    assert list(points.marker.color) == [run.metrics["test.mixture_elbo"] for run in study.runs]
    alone = synthetic.plan({"routing.temperature": [0.5, 1.0]}, seeds=(0,))
    assert plots.strength(load.load_study(synthetic.write(tmp_path / "b", alone)), ELBO) is None


def test_pruned_trials_and_oracle_searches_are_marked(tmp_path):
    search = searches.load_search("gate", objective="mixture_elbo", seeds="1", changes=("train.epochs=5",))

    class Silent:
        begin = epoch = evaluation = ended = staticmethod(lambda *_: None)

    def run(configs, /, *, on_event):
        for epoch in range(1, 6):
            on_event(toys.EpochReport(epoch, 5, [0.0], {"mixture_elbo": toys.bound(configs[0]) + epoch}))
        made = (synthetic.record(config) for config in configs)
        return [
            schema.Outcome(record=schema.Record.model_validate(tree), files=files) for tree, files in made
        ]

    with in_process() as here:
        found = run_search(search, tmp_path, run, budget=Budget(15), worker_pool=here, callbacks=Silent())
    pruned = [trial for trial in found.trials if trial.state is TrialState.PRUNED]
    assert pruned
    with opened(tmp_path) as (there, study):
        write_annotations(there, tmp_path)
        attributes = there.get_study_system_attrs(study._study_id)
        trials = study.get_trials()
    assert [trial.number for trial in trials if trial.state is TrialState.PRUNED] == [
        trial.number for trial in pruned
    ]
    for trial in trials:
        note = attributes[f"dashboard:{trial._trial_id}:note_str:0"]
        if trial.state is TrialState.PRUNED:
            assert f"after epoch {trial.last_step}" in note
        if trial.state is TrialState.COMPLETE:
            assert f"--trial {trial.number}\n" in note
    study = load.load_study(tmp_path)
    assert "Oracle" not in notes.of_study(study) + notes.of_cell(study, 0, "")
    assert "Oracle" in notes.of_study(study, oracle=True)
    assert "Oracle" in notes.of_cell(study, 0, "", oracle=True)
    assert "Oracle" in notes.of_stopped("cell", 3, oracle=True)


@pytest.mark.parametrize("name", ["nothing-0", "../study.json", "0123456789abcdef-9", "{run}-7", "{run}-1"])
def test_other_names_of_pictures_are_refused(name, folder):
    run = next((folder / "records").glob("*.json")).stem
    with pytest.raises((ArtifactNotFound, ValueError)):
        artifacts.PictureStore(folder).open_reader(name.format(run=run))


def test_uploads_are_kept_and_pictures_cannot_be_removed(folder):
    shown = artifacts.PictureStore(folder)
    shown.write("12-34", io.BytesIO(b"mine"))
    with shown.open_reader("12-34") as kept:
        assert kept.read() == b"mine"
    shown.remove("12-34")
    with pytest.raises(ArtifactNotFound):
        shown.open_reader("12-34")
    (picture, *_) = (f"{path.stem}-0" for path in (folder / "records").glob("*.json"))
    shown.remove(picture)
    assert shown.open_reader(picture).read().startswith(b"\x89PNG")


def test_only_this_machine_by_its_own_name_is_answered(folder):
    with running(folder) as (address, _):
        port = address.rpartition(":")[2]
        assert fetch(f"{address}/api/studies", Host=f"localhost:{port}")[0] == "application/json"
        for name in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                fetch(f"{address}/api/studies", Host=name)
            assert refused.value.code == 403
            refused.value.close()


def test_pages_elsewhere_neither_ask_nor_show_the_dashboard(folder):
    with running(folder) as (address, _):
        host = address.removeprefix("http://")
        for name in ("[::1]", f"[::1]:{host.partition(':')[2]}", "localhost", "LOCALHOST"):
            assert fetch(f"{address}/api/studies", Host=name)[0] == "application/json"
        assert fetch(f"{address}/api/studies", Origin=address)[0] == "application/json"
        for origin in ("http://evil.example", "null", "http://localhost:1", f"https://{host}"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                fetch(f"{address}/api/studies", Origin=origin)
            assert refused.value.code == 403
            refused.value.close()
        for place in ("/dashboard", "/api/studies", "/static/bundle.js", "/nowhere"):
            try:
                with urllib.request.urlopen(address + place, timeout=20) as answer:
                    headers = answer.headers
            except urllib.error.HTTPError as error:
                headers = error.headers
                error.close()
            assert "frame-ancestors 'none'" in headers.get_all("Content-Security-Policy"), place
            assert headers["X-Frame-Options"] == "DENY"


def test_a_port_that_is_taken_is_reported(folder):
    with opened(folder) as (there, _), serving(there, folder, 0) as server:
        for port in (server.server_port, 70000):
            with pytest.raises(PortError, match=f"--port {port}"), serving(there, folder, port):
                pass


def test_the_name_may_be_omitted_only_for_a_single_study(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for results in ("none", "file"):
        assert cli.main(["dashboard", "--results", str(tmp_path / results)]) == 2
        assert str(tmp_path / results) in capsys.readouterr().err
    shutil.copytree(folder, tmp_path / "other")
    assert cli.main(["dashboard", "--results", str(tmp_path)]) == 2
    assert "made-up, other" in capsys.readouterr().err
    assert cli.main(["dashboard", "made-down", "--results", str(tmp_path)]) == 2
    assert "'made-down'" in capsys.readouterr().err
    assert cli.main(["report", "made-up", "--results", str(tmp_path / "other")]) == 2
    assert capsys.readouterr().err.rstrip().endswith(str(tmp_path))


@contextmanager
def command(folder):
    """The command in a process of its own, with Python's warnings as errors; gives what it printed."""
    words = [sys.executable, "-W", "error", "-m", "studies", "dashboard", folder.name, "--port", "0"]
    words += ["--results", str(folder.parent)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline(), server.stdout.readline()
            server.terminate()
            assert server.wait(timeout=20) == 143
            assert "Traceback" not in server.stderr.read()
        finally:
            server.kill()


@pytest.mark.slow
def test_a_cloned_study_opens_and_the_address_is_reported(folder):
    """Files that git ignores are missing: the storage is rebuilt, then served."""
    for file in folder.glob("study.db*"):
        file.unlink()
    with command(folder) as (page, place):
        address = re.search(r"http://127\.0\.0\.1:\d+", page)[0]
        assert place == f"storage: sqlite:///{folder.resolve()}/study.db\n"
        studies = json.loads(fetch(f"{address}/api/studies")[1])["study_summaries"]
        assert [study["study_name"] for study in studies] == ["made-up"]
        assert page.strip().endswith(f"/dashboard/studies/{studies[0]['study_id']}")


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    switches = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    switches += ["--disable-component-update", "--disable-sync"]
    with api.sync_playwright() as player:
        chromium = player.chromium.launch(executable_path=CHROMIUM, args=switches)
        yield chromium
        chromium.close()


def test_pages_render_in_a_browser_without_errors(folder, browser):
    with running(folder) as (address, study):
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(180_000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("requestfailed", lambda request: errors.append(request.url))
        page.on("response", lambda answer: errors.append(answer.url) if answer.status >= 400 else None)
        home = f"{address}/dashboard/studies/{study._study_id}"

        page.goto(f"{address}/dashboard")
        page.get_by_text("made-up").first.wait_for()
        page.goto(home)
        page.get_by_text("NMI, mean over seeds: balance weight against temperature").wait_for()
        page.get_by_text("Intermediate values").wait_for()
        bars = page.locator("#graph-hyperparameter-importances")
        bars.locator(".bars .point").nth(len(AXES) - 1).wait_for(state="attached")
        shares = importance.shares(load.load_study(folder))
        assert {*bars.locator(".ytick").all_text_contents()} == {*shares}
        assert sorted(bars.locator(".bartext").all_text_contents()) == sorted(
            f"{share:.2f}" for share in shares.values()
        )
        page.get_by_text("mixture ELBO (nats per image, validation)").first.wait_for()
        page.goto(f"{home}/note")
        page.get_by_role("heading", name="Balancing, temperature and routing on digits").wait_for()
        page.goto(f"{home}/trials?numbers=3")
        page.get_by_text("Differs from the reference cell in").wait_for()
        page.get_by_role("cell", name="NMI").wait_for()
        pictures = page.locator("img[src*='/artifacts/']")
        assert pictures.count() >= 4, "two in the note, and the same two as artifacts"
        page.wait_for_function(
            "[...document.images].every(image => image.complete && image.naturalWidth > 200)"
        )
        page.close()
    assert errors == []


def test_notes_number_cells_as_the_report_does(folder):
    with running(folder) as (address, study):
        _, body = fetch(f"{address}/api/studies/{study._study_id}")
        for trial in json.loads(body)["trials"]:
            assert trial["note"]["body"].startswith(f"**Cell {trial['number'] + 1} of the report**")
