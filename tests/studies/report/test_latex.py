"""LaTeX tables: their structure is checked by a reader of its own, since no LaTeX is needed to test."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moevae.visualization import style
from studies.report import latex
from studies.report.build import write_report
from studies.testing import synthetic


def checked(text: str) -> list[list[str]]:
    """Return the cells of a table; fail if LaTeX could not read it."""
    stack, columns, rows = [], 0, []
    stacked = r"\\begin\{tabular\}\[t\]\{@\{\}l@\{\}\}(.*?)\\end\{tabular\}"
    text = re.sub(stacked, r"{}\1", text)
    for line in text.splitlines():
        if line.startswith("%"):
            continue
        assert line.isascii(), line  # every other character has a command
        bare = re.sub(r"\\.", "", line)
        assert not set(bare.removesuffix("%")) & set("#$%_^~"), line
        if line.startswith(r"\resizebox"):
            stack.append("resizebox")
        elif begun := re.match(r"\\begin\{(\w+\*?)\}(?:\{(l+)\})?", line):
            stack.append(begun[1])
            columns = len(begun[2] or "") or columns
        elif ended := re.match(r"\\end\{(\w+\*?)\}(\}?)$", line):
            assert stack.pop() == ended[1]
            assert not ended[2] or stack.pop() == "resizebox"
        elif line.endswith(r"\\"):
            assert stack == ["table" if columns <= 8 else "table*", "resizebox", "tabular"]
            assert bare.count("{") == bare.count("}")
            cells = re.split(r"(?<!\\)&", line.removesuffix(r"\\"))
            assert len(cells) == columns
            assert not cells[0].startswith("[")
            rows.append([cell.strip() for cell in cells])
        else:
            assert "&" not in bare
    assert not stack
    body = re.sub(r"\\\\|\\[{}]", "", text)
    assert body.count("{") == body.count("}")
    return rows


@given(st.lists(st.text("ab&%$#_{}~^\\<>|±×Δ²†–-1.[]\n ", max_size=12), min_size=2, max_size=2))
def test_any_text_stays_in_its_cell(texts):
    rows = checked(latex.table([{"a_b": texts[0], "c & d": texts[1]}], "100 % of #1", "tab:x"))
    assert len(rows) == 2


@pytest.mark.parametrize("width", [1, 8, 9, 12])
def test_a_table_of_many_columns_spans_both_columns_of_a_paper(width):
    row = {f"c{column}": str(column) for column in range(width)}
    assert checked(latex.table([row], "caption", "tab:x")) == [list(row), list(row.values())]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-1.5 ± 0.1 [-2, -1]", r"\ensuremath{-}1.5 \ensuremath{\pm} 0.1 [\ensuremath{-}2, \ensuremath{-}1]"),
        ("one-at-a-time, k-means", "one-at-a-time, k-means"),
        ("50 % of a_b", r"50 \% of a\_b"),
    ],
)
def test_characters_have_their_commands(text, expected):
    assert latex.escape(text) == expected


@pytest.mark.slow
def test_a_report_writes_tables_and_figures_for_papers_on_request_only(tmp_path):
    plan = synthetic.plan({"data.name": ["mnist", "digits"]}, seeds=[0, 1, 2])
    folder = synthetic.write(tmp_path, plan, lambda config: (synthetic.record(config, pictures=False)[0], {}))

    def files():
        return {
            path.name: path.read_bytes() for path in folder.glob("*/*.*") if path.parent.name != "records"
        }

    write_report(folder, formats=["svg", "pdf"], with_latex=True)
    first = files()
    for name in [name for name in first if name.endswith(".png")]:
        kinds = {match[1] for each in first if (match := re.fullmatch(rf"{name[:-4]}(?:-\d)?\.(\w+)", each))}
        assert kinds == {"png", "svg", "pdf"}, name
    assert first["mnist-profiles.svg"].startswith(b"<?xml")
    assert first["mnist-profiles.pdf"].startswith(b"%PDF")
    assert len(checked(first["mnist-results.tex"].decode())) == 2
    texts = [content.decode() for name, content in first.items() if name.endswith(".tex")]
    labels = [label for text in texts for label in re.findall(r"\\label\{(.*?)\}", text)]
    assert len(labels) == len({*labels}) == len(texts)
    write_report(folder)  # figures of other records would otherwise remain
    assert files() == {name: content for name, content in first.items() if name.endswith((".png", ".csv"))}


def test_vector_figures_are_reproducible():
    def drawn():
        figure, place = style.canvas((2, 2))
        place.plot([0, 1])
        return style.draw(figure)

    with style.style(), style.also_as(["svg", "pdf"]):
        first, second = drawn(), drawn()
    assert first.others == second.others
    assert first.png == second.png
