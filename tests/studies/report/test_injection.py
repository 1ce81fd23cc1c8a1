"""Names that hold scripts, fences and links are shown as text, and a page embeds files of its study alone."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt

from moevae.config.schema import RunConfig
from studies.analysis.load import load_study
from studies.dashboard import notes
from studies.report import manifest, markdown
from studies.report.build import write_html, write_report
from studies.report.html import SCRIPT as SORTING
from studies.report.sections import order
from studies.testing import synthetic

SCRIPT = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"
FENCE = f"a\n```\n\n{SCRIPT}\n\n````\n<details><summary>{SCRIPT}</summary>\n~~~\n<br>{SCRIPT}"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def study(tmp_path, undrawn) -> Path:
    """A study whose every name is an attack."""
    data = [f"npz:/x/{FENCE}.npz", f"npz:[a](/etc/{SCRIPT}.csv)", "npz:![a](javascript:hurt)"]

    def make(config: RunConfig):
        tree, files = synthetic.record(config)
        tree["confusion"]["classes"] = [f"{SCRIPT}{number}" for number in range(10)]
        tree["data"]["name"] = config.data.name
        tree["hardware"]["device_name"] = FENCE
        tree["versions"][FENCE] = FENCE
        if config.seed == 1 and config.routing.kind == "hard":
            return synthetic.failed(config, FENCE), {}
        return tree, files

    plan = synthetic.plan(
        {"data.name": data, "routing.kind": ["soft", "hard"]},
        seeds=(0, 1),
        name=FENCE,
        title=FENCE,
        description=FENCE,
        command=FENCE,
        left_out=[FENCE],
    )
    return synthetic.write(tmp_path / "s", plan, make)


@pytest.fixture
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with api.sync_playwright() as player:
        chromium = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


def elements(text: str) -> set[str]:
    """The names of all HTML elements of a text."""
    from html.parser import HTMLParser

    found: set[str] = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.update([tag, *(name for name, _ in attributes)])
    parser.feed(text)
    return found


def foreign(text: str) -> str:
    """An HTML page without the script of the page itself, which it has once."""
    own = f"<script>{SORTING}</script>"
    assert text.count(own) == 1
    return text.replace(own, "")


def test_no_name_becomes_a_script_in_a_browser(study, browser) -> None:
    html = write_html(write_report(study))
    assert not elements(foreign(html.read_text())) & {"script", "onerror", "iframe", "object"}
    text = html.read_text().replace("Content-Security-Policy", "none")  # what the page itself holds back
    html.write_text(text)
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(html.as_uri())
    assert page.evaluate("window.hurt") is None
    assert page.locator("details").count() > 1, "what is folded still opens"
    assert [address for address in asked if not address.startswith("data:")] == [html.as_uri()]


def test_no_name_becomes_html_in_the_markdown(study) -> None:
    """Read by a parser that lets HTML through, as GitHub's does before it cleans."""
    page = write_report(study).read_text()
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(page)
    assert not elements(shown) & {"script", "onerror"}
    assert not [part for part in shown.split('"') if part.startswith("javascript:")]


def test_no_name_becomes_html_in_the_dashboards_notes(study) -> None:
    found = load_study(study)
    texts = [notes.of_study(found), notes.of_cell(found, 0, FENCE), notes.of_stopped(FENCE, 1)]
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    assert not [text for text in texts if elements(parser.render(text)) & {"script", "onerror"}]


@pytest.mark.parametrize("text", ["```", "a\n``````\nb", "~~~", "plain"])
def test_code_stays_between_its_fences(text) -> None:
    (token,) = MarkdownIt().parse(markdown.code([text]))
    assert (token.type, token.content, token.info) == ("fence", f"{text}\n", "sh")


def test_html_in_a_page_is_shown_as_text(tmp_path) -> None:
    (tmp_path / "report.md").write_text(
        f"# A\n\n{SCRIPT}\n\n<div onclick=x>\n\n<details>\n<summary>more</summary>\n\nb\n\n</details>\n\n"
        f"<summary>{SCRIPT}</summary>\n\n| a |\n|---|\n| 1<br>2<BR onload=x> |\n"
    )
    text = write_html(tmp_path / "report.md").read_text()
    assert not elements(foreign(text)) & {"script", "onerror", "onclick", "onload"}
    assert "&lt;script&gt;" in text
    assert text.count("<details>") == 2
    assert "1<br" in text


@pytest.mark.parametrize(
    "place",
    ["../mine.png", "{elsewhere}", "records/a.png", "figures/../../mine.png", "mine.png", "figures/link.png"],
)
def test_a_page_embeds_files_of_its_study_alone(tmp_path, place) -> None:
    folder, mine = tmp_path / "s", tmp_path / "mine.png"
    (folder / "figures").mkdir(parents=True)
    (folder / "records").mkdir()
    for path in (mine, folder / "mine.png", folder / "records" / "a.png", folder / "figures" / "a.png"):
        path.write_bytes(b"\x89PNG")
    (folder / "figures" / "link.png").symlink_to(mine)
    (folder / "report.md").write_text(f"![a]({place.format(elsewhere=mine)}) ![b](figures/a.png)\n")
    assert write_html(folder / "report.md").read_text().count("base64") == 1


def test_a_figures_folder_that_is_a_link_is_not_embedded(tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(b"\x89PNG")
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "report.md").write_text("![b](figures/a.png)\n")
    (folder / "figures").symlink_to(tmp_path / "elsewhere")
    assert "base64" not in _html(folder)


def _html(folder: Path) -> str:
    try:
        return write_html(folder / "report.md").read_text()
    except Exception as error:  # refused is as good
        return str(error)


# Names that collide, or that are truncated to the same text.


@pytest.mark.parametrize(
    "names",
    [
        ["npz:x/y.npz", "npz:x-y.npz"],
        ["npz:данные.npz", "npz:数据.npz"],
        [f"npz:{'long/' * 60}a.npz", f"npz:{'long/' * 60}b.npz"],
        ["npz:a", "npz:a-a.npz", "npz:A"],
    ],
    ids=["slashes", "letters", "long", "cases"],
)
def test_each_data_set_has_files_of_its_own(tmp_path, monkeypatch, names) -> None:
    import pandas as pd

    def section(analysis, page) -> None:
        name = analysis.study.runs[0].record.config["data"]["name"].encode()
        for words, content in (("picture", name), ("a picture", name + b"!")):
            page.show(words, {words: SimpleNamespace(png=content, others={})})
        page.keep("table", pd.DataFrame({"cell": [1]}))

    monkeypatch.setattr(order, "SECTIONS", (section,))
    plan = synthetic.plan({"data.name": names, "routing.kind": ["soft", "hard"]}, seeds=[0])
    folder = synthetic.write(tmp_path, plan, lambda config: synthetic.record(config, pictures=False))
    write_report(folder)
    drawn = {path.read_bytes() for path in (folder / "figures").iterdir()}
    assert drawn == {name.encode() + end for name in names for end in (b"", b"!")}
    assert pd.read_csv(folder / "tables" / "table.csv")["data.name"].tolist() == names


def test_levels_that_differ_are_shown_apart_and_tables_keep_every_digit(
    tmp_path, undrawn, monkeypatch
) -> None:
    import pandas as pd

    from studies.report import plots

    ticks: list[str] = []
    real = plots.levels

    def levels(effects, given, name, **more):
        ticks.extend(given)
        return real(effects, given, name, **more)

    monkeypatch.setattr(plots, "levels", levels)
    axes = {
        "data.split_seed": [20240101, 20240102],
        "train.learning_rate": [0.12345678, 0.12345679],
        "model.expert_hidden": [[9, 8, 7, 6, 5], [9, 1, 1, 1, 5]],
    }
    plan = synthetic.plan(axes, seeds=(0, 1))
    folder = synthetic.write(tmp_path, plan, lambda config: synthetic.record(config, pictures=False))
    page = write_report(folder).read_text()
    texts = ["20240101", "20240102", "0.12345678", "0.12345679", "9-8-7-6-5", "9-1-1-1-5"]
    assert ticks == texts
    assert all(text in page for text in texts)
    assert "e+07" not in page
    for name in ("table.csv", "tables/runs.csv", "tables/comparisons.csv"):
        frame = pd.read_csv(folder / name, dtype=str)
        for axis in axes:
            assert set(frame[axis]) <= set(texts), name
    with (folder / "tables" / "runs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            kept = json.loads((folder / "records" / f"{row['fingerprint']}.json").read_text())
            assert float(row["test.mixture_elbo"]) == kept["metrics"]["test"]["mixture_elbo"]


@pytest.mark.parametrize("name", ["study", "study.json", "cell", "README.md"])
def test_a_study_may_have_the_name_of_a_file_or_column(tmp_path, undrawn, name, capsys) -> None:
    from studies import __main__ as cli

    plan = synthetic.plan({"routing.kind": ["soft", "hard"]}, seeds=[0], name=name)
    synthetic.write(tmp_path / name, plan, lambda config: synthetic.record(config, pictures=False))
    assert cli.main(["list", "--results", str(tmp_path)]) == 0
    assert f"{name}: complete, 2 of 2 runs" in capsys.readouterr().out
    assert cli.main(["report", name, "--results", str(tmp_path)]) == 0
    page = (tmp_path / name / "report.md").read_text()
    section = page.split("## Setup")[1]
    header = next(line for line in section.splitlines() if line.startswith("|"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["study", markdown.escape(name)]


@pytest.mark.parametrize("classes", [["$", "$$"], ["a $x$ b", r"$\frac"], ["^_{", "\\"]])
def test_class_names_are_drawn_letter_for_letter(classes) -> None:
    import numpy as np

    from moevae.visualization.confusions import confusion, confusions
    from moevae.visualization.samples import tiles
    from moevae.visualization.style import labeled, style
    from studies.report import plots

    with style():
        from matplotlib.figure import Figure

        figure = Figure()
        words = figure.text(0, 0, classes[0])
        assert not words.get_parse_math()
    counts = np.ones((2, 2))
    assert confusion(counts, classes)
    assert confusions({1: counts, 2: counts}, classes)
    assert labeled(tiles(np.zeros((2, 2, 4)), 2, 2), classes, classes, (classes[0], classes[1]), classes[0])
    from studies.analysis.metrics import NMI

    assert plots.heat_maps({classes[0]: counts}, NMI, classes, classes, (classes[0], classes[1]))


def test_manifest_patterns_stay_within_the_folder() -> None:
    for name in (
        "figures/..png",
        "figures/../a.png",
        "/figures/a.png",
        "figures/a/b.png",
        "tables/a.sh",
        "a.csv",
    ):
        assert not manifest.FILE.fullmatch(name)
