from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from studies.report import markdown as markup


def test_prose_is_letter_for_letter_but_for_words_of_code():
    text = "the preset `sharp-2` of a_b_c, `not *this*`, and `half"
    shown = "<p>the preset <code>sharp-2</code> of a_b_c, `not *this*`, and `half</p>\n"
    assert MarkdownIt().render(markup.prose(text)) == shown


def cells_of(markdown: str) -> list[list[str]]:
    """The texts of a Markdown table, read by an independent parser."""
    rows: list[list[str]] = []
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(markdown):
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline" and rows:
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows


@pytest.mark.parametrize(
    "text",
    ["a|b", "a & b &amp; c", "[x][y]", "*a*_b_", "`a`", "<b>", "[x](y)", "a\\|b", "$x$", "~~a~~", "#1"],
)
def test_any_name_is_shown_letter_for_letter(text: str) -> None:
    assert cells_of(markup.table([{text: text, "other": "1"}])) == [[text, "other"], [text, "1"]]


def test_a_paragraph_that_begins_like_a_heading_is_none() -> None:
    assert MarkdownIt().render(markup.escape("# no heading")) == "<p># no heading</p>\n"


def test_columns_of_numbers_stand_to_the_right_and_names_to_the_left() -> None:
    rows = [{"name": "2 (1 failed)", "number": "0.5 ± 0.1\n[0.4, 0.6]"}, {"name": "3", "number": "–"}]
    rule = markup.table(rows).splitlines()[1]
    assert [part[-1] for part in rule.strip("|").split("|")] == ["-", ":"]
    assert "<br>[0.4, 0.6]" in markup.table(rows)


def test_p_values_have_three_decimals() -> None:
    assert [markup.p_value(p) for p in (0.25, 0.0004, float("nan"))] == ["0.250", "< 0.001", "–"]


def test_a_text_that_has_no_encoding_is_written_with_its_bytes_escaped() -> None:
    assert markup.encoded("é f\udcff") == "é f\\udcff".encode()
