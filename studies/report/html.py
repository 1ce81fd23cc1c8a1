"""A report as a single HTML file with embedded figures and tables."""

from __future__ import annotations

import base64
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
    for token in _all(tokens):
        for attribute in ("src", "href"):
            _embed(token, attribute, report.parent)
    body = parser.renderer.render(tokens, parser.options, {})
    title = headings[0][1] if headings else report.stem
    links = "".join(
        f'<li><a href="#{name}">{html.escape(words)}</a></li>' for tag, words, name in headings if tag == "h2"
    )
    contents = f"<nav><details><summary>Contents</summary><ul>{links}</ul></details></nav>"
    page = TEMPLATE.format(title=html.escape(title), style=STYLE, contents=contents, body=body)
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
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{contents}
<main>
{body}</main>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark;
  --ink: #1f2328; --paper: #ffffff; --line: #d1d9e0; --soft: #f6f8fa; --link: #0550ae; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --line: #3d444d; --soft: #161b22; --link: #79b8ff; }
}
body { margin: 0 auto; max-width: 68rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; }
h1, h2, h3, h4 { line-height: 1.25; margin: 2rem 0 0.75rem; }
h2 { border-bottom: 1px solid var(--line); padding-bottom: 0.25rem; }
a { color: var(--link); }
img { max-width: 100%; height: auto; border-radius: 6px; background: white; }
.table { overflow-x: auto; margin: 0.75rem 0; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid var(--line); padding: 0.3rem 0.6rem; }
td { white-space: nowrap; }
td[style*="left"] { white-space: normal; min-width: 6rem; }
tr:nth-child(even) td { background: var(--soft); }
pre { overflow-x: auto; background: var(--soft); padding: 0.75rem; border-radius: 6px; }
code { font: 0.85em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
blockquote { margin: 1rem 0; padding: 0 1rem; border-left: 4px solid #D55E00; }
summary { cursor: pointer; padding: 0.25rem 0; }
"""
