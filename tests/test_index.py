from __future__ import annotations

import synthetic
from markdown_it import MarkdownIt

from moevae.config import RunConfig
from studies.index import write_index


def test_the_index_links_every_study_and_says_how_far_it_is(tmp_path) -> None:
    def make(config: RunConfig):
        if config.seed == 1:
            return None
        return synthetic.record(config, pictures=False)

    axes = {"routing.kind": ["soft", "hard"]}
    synthetic.write(tmp_path / "b study", synthetic.plan(axes, title="B | half", name="b"), make)
    synthetic.write(
        tmp_path / "a",
        synthetic.plan(axes, title="A", name="a", seeds=[0]),
        lambda config: (synthetic.failed(config), {}),
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "study.json").write_text("{")
    page = write_index(tmp_path).read_text()
    links = [
        child.attrGet("href")
        for token in MarkdownIt().enable("table").parse(page)
        for child in token.children or []
        if child.type == "link_open"
    ]
    assert links == ["a/report.md", "b%20study/report.md"]
    assert "B \\| half" in page
    assert "partial, 2 runs missing" in page
    assert "complete; 2 failed" in page
    assert "cannot be read: study.json: not JSON" in page


def test_no_study_is_said(tmp_path) -> None:
    assert "None yet" in write_index(tmp_path).read_text()
