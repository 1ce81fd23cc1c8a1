from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from studies.report.html import write_html

VOID = ("meta", "img", "br")
PNG = b"\x89PNG\r\n\x1a\n"
PAGE = """# Title with \\<angle\\>\\|pipe

## One

![a figure](figures/a.png)

[numbers](tables/n.csv) and [elsewhere](https://example.org/x.csv)

| a   |   b |
|:----|----:|
| x   |   1 |

<details>
<summary>more</summary>

## One

</details>
"""


class Outline(HTMLParser):
    """Counts what is opened and closed, and gathers attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag


def page(folder: Path) -> Outline:
    for name, content in (("figures/a.png", PNG), ("tables/n.csv", b"a,b\n1,2\n")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "report.md").write_text(PAGE)
    outline = Outline()
    outline.feed(write_html(folder / "report.md").read_text())
    assert outline.open == []
    return outline


def test_figures_and_tables_are_within_the_page(tmp_path) -> None:
    seen = page(tmp_path).seen
    (image,) = (attributes for tag, attributes in seen if tag == "img")
    assert image["src"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    links = [attributes["href"] or "" for tag, attributes in seen if tag == "a"]
    assert any(link.startswith("data:text/csv;base64,") for link in links)
    assert [link for link in links if "//" in link] == ["https://example.org/x.csv"]


def test_headings_have_names_of_their_own_and_tables_scroll(tmp_path) -> None:
    seen = page(tmp_path).seen
    names = [attributes["id"] for tag, attributes in seen if tag in ("h1", "h2")]
    assert names == ["title-with-angle-pipe", "one", "one-1"]
    assert ("div", {"class": "table"}) in seen


def test_the_page_needs_nothing_from_outside(tmp_path) -> None:
    page(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert not re.search(r"<(link|iframe)\b|<script\b[^>]+|@import|url\(", text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text  # no other script runs
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|https?:", script)


def test_a_caption_is_the_emphasis_below_a_figure(tmp_path) -> None:
    (tmp_path / "report.md").write_text(
        "# T\n\n*no caption*\n\n![f](figures/f.png)\n\n*a caption*\n\n*text*\n"
    )
    text = write_html(tmp_path / "report.md").read_text()
    assert text.count('<p class="caption">') == 1
    assert '<p class="caption"><em>a caption</em></p>' in text
