from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from moevae.config.schema import RunConfig
from studies.report.index import write_index
from studies.testing import synthetic


def test_the_index_links_every_study_and_states_how_far_it_is(tmp_path) -> None:
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
    page = write_index(tmp_path, asked=True).read_text()
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


def test_text_around_an_index_is_kept_byte_for_byte(tmp_path) -> None:
    index = write_index(tmp_path, asked=True)
    around = b"# Mine, caf\xe9\r\n\r\n", b"\r\nand \xff below\r\n"
    index.write_bytes(index.read_bytes().strip().join(around))
    plan = synthetic.plan({"routing.kind": ["soft"]}, seeds=[0])
    synthetic.write(tmp_path / "s", plan, lambda config: synthetic.record(config, pictures=False))
    content = write_index(tmp_path).read_bytes()
    assert content.startswith(around[0])
    assert content.endswith(around[1])
    assert b"s/report.md" in content


def test_an_index_without_studies_says_so(tmp_path) -> None:
    assert "None yet" in write_index(tmp_path, asked=True).read_text()


def test_an_index_of_an_earlier_version_is_kept_up_to_date_and_one_with_notes_is_left(tmp_path) -> None:
    earlier = (
        "# Studies\n\nEach page is made from the records beside it by `nox -s report`; nothing here is "
        "edited by hand.\n\n| study | state |\n|:------|:------|\n| [A](a/report.md) | complete |\n"
    )
    index = tmp_path / "README.md"
    index.write_text(earlier)
    assert write_index(tmp_path) == index
    now = index.read_text()
    assert "a/report.md" not in now
    assert write_index(tmp_path) == index
    assert index.read_text() == now
    index.write_text(f"{earlier}\nA note of mine.\n")
    assert write_index(tmp_path) is None
    assert "A note of mine." in index.read_text()


@pytest.mark.parametrize(
    "title", ["a] [b", "[", "]: x", "[a](javascript:b)", "![a](b) ]", "\\]", "` ] `", "<b>]"]
)
def test_a_title_with_brackets_is_the_text_of_its_link(tmp_path, title) -> None:
    plan = synthetic.plan({"routing.kind": ["soft"]}, title=title, seeds=[0])
    synthetic.write(tmp_path / "s(1)", plan, lambda config: synthetic.record(config, pictures=False))
    page = write_index(tmp_path, asked=True).read_text()
    parsed = MarkdownIt("commonmark", {"html": True}).enable("table").parse(page)
    (cell,) = [token for token in parsed if "report.md" in token.content]
    opened, *text, closed = cell.children or []
    assert (opened.type, opened.attrGet("href"), closed.type) == (
        "link_open",
        "s%281%29/report.md",
        "link_close",
    )
    assert "".join(child.content for child in text) == " ".join(title.split())
