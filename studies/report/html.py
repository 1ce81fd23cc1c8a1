"""A report as a single HTML file with embedded figures and tables."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Sequence
from itertools import count, pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from studies.report import manifest
from studies.report.page import slug

TYPES = {".png": "image/png", ".csv": "text/csv"}
_FOLD = re.compile(r"<details>|</details>|<summary>[^<>]*</summary>")
"""The only HTML that a page may contain; other HTML is shown as text."""


def write_html(report: Path, *, overwrite: bool = False) -> Path:
    """Write a Markdown report as HTML into the same folder.

    Args:
        report: path of the Markdown file.
        overwrite: whether to replace a file that was edited or that no report wrote.

    Returns:
        The path of the HTML file.

    Raises:
        RecordError: the HTML file exists and must not be replaced.
    """
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    parser.block.ruler.before("paragraph", "fold", _fold)
    parser.inline.ruler.before("autolink", "break", _break)
    tokens = parser.parse(report.read_text(encoding="utf-8"))
    headings = _name_headings(tokens)
    _mark_captions(tokens)
    for token in _all(tokens):
        for attribute in ("src", "href"):
            _embed(token, attribute, report.parent)
    body = parser.renderer.render(tokens, parser.options, {})
    title = headings[0][1] if headings else report.stem
    links = "".join(
        f'<li><a href="#{name}">{html.escape(words)}</a></li>' for tag, words, name in headings if tag == "h2"
    )
    contents = f"<nav><details><summary>Contents</summary><ul>{links}</ul></details></nav>"
    page = TEMPLATE.format(
        title=html.escape(title),
        style=STYLE,
        contents=contents,
        body=body,
        script=SCRIPT,
        digest=base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode(),
    )
    written = manifest.read(report.parent)
    target = report.with_suffix(".html")
    content = {target.name: page.encode()}
    written.check(content, overwrite=overwrite)
    written.add(content)
    return target


def _fold(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Parse a line of `_FOLD`, a block rule of markdown-it."""
    line = state.getLines(start, start + 1, state.blkIndent, False).strip()
    if not _FOLD.fullmatch(line):
        return False
    if not silent:
        state.push("fold", "", 0).content = line
        state.line = start + 1
    return True


def _break(state: StateInline, silent: bool) -> bool:
    """Parse `<br>`, a line break within a table cell, an inline rule of markdown-it."""
    if not state.src.startswith("<br>", state.pos):
        return False
    if not silent:
        state.push("hardbreak", "br", 0)
    state.pos += len("<br>")
    return True


class _Renderer(RendererHTML):
    """Renderer that wraps tables in boxes that scroll on narrow screens."""

    def table_open(self, tokens: Sequence[Token], index: int, *_: object) -> str:
        """Open the box and the table."""
        return '<div class="table"><table>\n'

    def fold(self, tokens: Sequence[Token], index: int, *_: object) -> str:
        """Return a line of `_FOLD` unchanged."""
        return f"{tokens[index].content}\n"

    def table_close(self, tokens: Sequence[Token], index: int, *_: object) -> str:
        """Close the table and the box."""
        return "</table></div>\n"


def _all(tokens: Iterable[Token]) -> Iterable[Token]:
    for token in tokens:
        yield token
        yield from _all(token.children or [])


def _name_headings(tokens: Sequence[Token]) -> list[tuple[str, str, str]]:
    """Give every heading a unique ID; return tag, text and ID of each."""
    found: list[tuple[str, str, str]] = []
    for token, content in pairwise(tokens):
        if token.type == "heading_open":
            words = "".join(child.content for child in content.children or [])
            taken = {name for _, _, name in found}
            choices = (f"{slug(words)}-{number}" if number else slug(words) for number in count())
            name = next(choice for choice in choices if choice not in taken)
            token.attrSet("id", name)
            found.append((token.tag, words, name))
    return found


def _mark_captions(tokens: Sequence[Token]) -> None:
    """Give the class `caption` to each paragraph of emphasized text that follows a figure."""
    for place, token in enumerate(tokens[3:-1], start=3):
        before, own = tokens[place - 2].children or [], tokens[place + 1].children or []
        if (
            token.type == "paragraph_open"
            and [child.type for child in before] == ["image"]
            and own
            and (own[0].type, own[-1].type) == ("em_open", "em_close")
        ):
            token.attrSet("class", "caption")


def _embed(token: Token, attribute: str, folder: Path) -> None:
    """Replace a reference to a file of the report with its content; other files are not read."""
    place = str(token.attrGet(attribute) or "")
    file = folder / place
    if not manifest.FILE.fullmatch(place) or file.is_symlink() or not file.is_file():
        return
    if not file.resolve().is_relative_to(folder.resolve()):
        return
    content = base64.b64encode(file.read_bytes()).decode()
    token.attrSet(attribute, f"data:{TYPES[file.suffix]};base64,{content}")
    if attribute == "href":
        token.attrSet("download", file.name)


TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{contents}
<main>
{body}</main>
<script>{script}</script>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark;
  --ink: #1f2328; --paper: #ffffff; --line: #d1d9e0; --soft: #f6f8fa; --link: #0550ae; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --line: #3d444d; --soft: #161b22; --link: #79b8ff; }
}
body { margin: 0 auto; max-width: 76rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; }
h1, h2, h3, h4 { line-height: 1.25; margin: 2rem 0 0.75rem; }
h2 { border-bottom: 1px solid var(--line); padding-bottom: 0.25rem; }
a { color: var(--link); }
img { max-width: 100%; height: auto; border-radius: 6px; background: white; }
.table { overflow-x: auto; margin: 0.75rem 0; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.875rem; font-variant-numeric: tabular-nums;
  border: solid var(--line); border-width: 1px 0 0 1px; }
th, td { border: solid var(--line); border-width: 0 1px 1px 0; padding: 0.25rem 0.6rem;
  background: var(--paper); }
td { white-space: nowrap; }
td[style*="left"] { white-space: normal; min-width: 6rem; }
tr:nth-child(even) td { background: var(--soft); }
th:first-child, td:first-child { position: sticky; left: 0; z-index: 1; }
th button { all: unset; cursor: pointer; font-weight: bold; }
th button:focus-visible { outline: 2px solid var(--link); }
th button::after { content: "\\00a0\\2195"; opacity: 0.4; }
th[aria-sort="ascending"] button::after { content: "\\00a0\\2191"; opacity: 1; }
th[aria-sort="descending"] button::after { content: "\\00a0\\2193"; opacity: 1; }
input.filter { font: inherit; font-size: 0.875rem; color: inherit; background: var(--paper);
  width: 16rem; max-width: 100%;
  border: 1px solid var(--line); border-radius: 6px; padding: 0.25rem 0.5rem; margin-bottom: 0.4rem; }
.caption { font-size: 0.875rem; max-width: 52rem; margin-top: -0.5rem; opacity: 0.85; }
@media (max-width: 40rem) {
  th:first-child, td:first-child { white-space: normal; max-width: 42vw; overflow-wrap: anywhere; }
}
pre { overflow-x: auto; background: var(--soft); padding: 0.75rem; border-radius: 6px; }
code { font: 0.85em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
blockquote { margin: 1rem 0; padding: 0 1rem; border-left: 4px solid #D55E00; }
summary { cursor: pointer; padding: 0.25rem 0; }
"""

SCRIPT = r"""
"use strict";
const number = text => {
  const found = text.replaceAll(",", "").match(/[-\u2212]?\d*\.?\d+(e[-+]?\d+)?/i);
  return found ? parseFloat(found[0].replace("\u2212", "-")) : NaN;
};
for (const table of document.querySelectorAll(".table > table")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  if (!body || body.rows.length < 3 || heads.length < 3) continue;
  const rows = [...body.rows];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const texts = new Map(rows.map(row => [row, row.cells[column].innerText.trim()]));
      const numeric = rows.every(row => /^([-\u2212<\s\d.]|\u2013$|$)/.test(texts.get(row)));
      const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const compare = (a, b) => {
        if (!numeric) return texts.get(a).localeCompare(texts.get(b), "en", {numeric: true});
        const [x, y] = [number(texts.get(a)), number(texts.get(b))];
        return Number.isNaN(x) ? (Number.isNaN(y) ? 0 : down) : Number.isNaN(y) ? -down : x - y;
      };
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
      body.append(...[...rows].sort((a, b) => down * compare(a, b)));
    });
  });
  if (rows.length < 8) continue;
  const filter = document.createElement("input");
  filter.type = "search";
  filter.className = "filter";
  filter.placeholder = "Filter " + rows.length + " rows";
  filter.setAttribute("aria-label", "Filter the rows of the table below");
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.innerText.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
    }
  });
  table.parentElement.before(filter);
}
"""
"""Sorts tables by a click on a heading, and filters rows; without it the page is complete, too."""
