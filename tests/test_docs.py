"""The documentation: its sources agree with the software, and the built site needs no network.

`nox -s docs` builds the site and then runs these tests; those of the site are skipped where it is not built.
"""

import functools
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from moevae.config import reference
from moevae.config import registry as kinds
from moevae.config.registry import METRICS, PRESETS
from moevae.data import checks as data_checks
from moevae.evaluation import checks as evaluation_checks
from moevae.objectives import checks as objective_checks
from moevae.utils.registry import Registry
from studies.baselines import checks as baseline_checks
from studies.cli import commands
from studies.design import baselines
from studies.design import design as designs
from studies.search import registry as searches

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SITE = DOCS / "_build" / "html"
PAGES = sorted(SITE.rglob("*.html"))

LOADED = {  # attributes whose addresses a browser fetches by itself
    ("script", "src"),
    ("link", "href"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("video", "src"),
    ("audio", "src"),
    ("embed", "src"),
    ("object", "data"),
}


class Addresses(HTMLParser):
    """Collects what a page loads, where it links to, and its anchors."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.linked, self.anchors, self.math = [], [], set(), 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.math += tag == "math"
        if "id" in given:
            self.anchors.add(given["id"])
        for name, value in attrs:
            # The address of a page (`rel=canonical` and the like) is not fetched.
            if (tag, name) in LOADED and given.get("rel", "stylesheet") in ("stylesheet", "preload", "icon"):
                self.loaded.append(value)
        if tag == "a" and given.get("href"):
            self.linked.append(given["href"])


def sections(page):
    return re.findall(r"^#+ (.*)$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)


def glossary():
    text = (DOCS / "reference" / "glossary.md").read_text(encoding="utf-8")
    return {line.strip() for line in text.splitlines() if re.match(r"\w", line)}


def test_every_paper_of_a_setting_is_in_the_bibliography():
    text = (DOCS / "reference" / "bibliography.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^- \*\*(.*)\.\*\*", text, re.MULTILINE))
    assert {paper for setting in reference.settings() for paper in setting.papers} <= known


def test_every_metric_is_in_the_glossary():
    words = {"mixture_elbo": "mixture ELBO", "iwae_bound": "IWAE", "brier": "Brier score"}
    words |= {"dead_experts": "dead expert", "map_elbo": "map_elbo", "temperature": "temperature"}
    labels = {words.get(name, metric.label) for name, metric in METRICS.items()}
    assert labels <= glossary()


def test_the_help_of_ablate_names_every_baseline():
    assert {*baselines.BASELINES} <= {*re.findall(r"[\w-]+", commands.ABLATE)}


def test_the_profile_of_the_how_to_page_is_one(tmp_path):
    text = (DOCS / "how-to" / "studies.md").read_text(encoding="utf-8")
    (profile,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "my-study.toml"
    path.write_text(profile, encoding="utf-8")
    assert len(designs.load_design(str(path)).cells) == 4


def test_the_entries_of_the_how_to_page_obey_the_laws():
    text = (DOCS / "how-to" / "extend.md").read_text(encoding="utf-8")
    entries = ((kinds.ROUTINGS, "sharpened"), (kinds.METRICS, "confidence"), (kinds.DATASETS, "noise"))
    try:
        for source in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(compile(source, "extend.md", "exec"), {"__name__": "example"})
        assert all(name in registry for registry, name in entries)
    finally:
        for registry, name in entries:
            registry.unregister(name)


def test_the_how_to_page_names_all_checks():
    text = (DOCS / "how-to" / "extend.md").read_text(encoding="utf-8")
    for module in (evaluation_checks, data_checks, objective_checks, baseline_checks):
        for name in vars(module):
            if name.startswith("check_") and vars(module)[name].__module__ == module.__name__:
                assert f"`{module.__name__}.{name}`" in text


def test_the_how_to_page_names_all_entry_point_groups():
    registries = [each for module in (kinds, searches, baselines) for each in vars(module).values()]
    groups = {each.group.removeprefix("moevae.") for each in registries if isinstance(each, Registry)}
    text = (DOCS / "how-to" / "extend.md").read_text(encoding="utf-8")
    listed = re.search(r"The groups are `moevae\.` and one of (.*?)\.", " ".join(text.split()))[1]
    assert set(re.findall(r"`(\w+)`", listed)) == groups | {"commands"}


built = pytest.mark.skipif(not PAGES, reason="the site is not built")


@functools.cache
def pages():
    return {page: Addresses(page.read_text(encoding="utf-8")) for page in PAGES}


@built
def test_nothing_is_loaded_from_the_network():
    outside = {
        (str(page.relative_to(SITE)), address)
        for page, found in pages().items()
        for address in found.loaded
        if urlsplit(address).netloc
    }
    assert not outside


@built
def test_styles_and_scripts_load_nothing_from_the_network():
    for path in [*SITE.rglob("*.css")]:
        styles = path.read_text(encoding="utf-8")
        assert not re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", styles), path
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"@import\s|url\(\s*['\"]?https?://", text), path


@built
def test_what_is_loaded_or_linked_within_the_site_exists():
    absent = set()
    for page, found in pages().items():
        for address in (*found.loaded, *found.linked):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if not target.is_file():
                absent.add((str(page.relative_to(SITE)), address))
            elif parts.fragment and target in pages() and target.suffix == ".html":
                known = pages()[target].anchors
                if unquote(parts.fragment) not in known:
                    absent.add((str(page.relative_to(SITE)), address))
    assert not absent


@built
@pytest.mark.parametrize("page", ["README", "reference/report"])
def test_pages_of_results_link_to_the_glossary(page):
    linked = pages()[SITE / "generated" / "results" / f"{page}.html"].linked
    assert any(link.endswith("../reference/glossary.html") for link in linked)


@built
def test_mathematics_needs_no_script():
    assert pages()[SITE / "concepts" / "objective.html"].math > 20
    assert not [path for path in SITE.rglob("*.js") if "mathjax" in path.name.lower()]


@built
@pytest.mark.parametrize("setting", reference.settings(), ids=lambda setting: setting.key)
def test_the_page_of_settings_has_each(setting):
    text = (SITE / "generated" / "settings.html").read_text(encoding="utf-8")
    assert f">{setting.key}</span>" in text
    assert all(f">{name}</span>" in text for name in setting.choices)
    assert all(f">{name}</span>" in text for name in PRESETS)


@built
@pytest.mark.parametrize("page", ["digits", "mnist", "own-images"])
def test_examples_ran(page):
    text = (SITE / "tutorial" / f"{page}.html").read_text(encoding="utf-8")
    assert 'class="cell_output' in text
    assert not re.findall(r"Traceback|error: |not found", text)
