"""Tables in LaTeX, for papers: booktabs, with the numbers of the page, never wider than the text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from studies.analysis.analyze import Analysis
from studies.report import tables
from studies.report.page import Page, slug

_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: rf"\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "Δ": r"\ensuremath{\Delta}",
    "η": r"\ensuremath{\eta}",
    "π": r"\ensuremath{\pi}",
    "²": r"\textsuperscript{2}",
    "†": r"\textsuperscript{\ensuremath{\dagger}}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "\n": " ",
}
"""Characters that LaTeX would not print as they are."""

_MINUS = re.compile(r"(?<![\w}-])-(?=[\d.])")

_NARROW = 8
"""Columns up to which a table fits one column of a paper."""

_NO_WIDER = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}"


def escape(text: str) -> str:
    """Return a text that LaTeX prints literally; a minus before a digit is typeset as one."""
    words = "".join(_SPECIAL.get(character, character) for character in text)
    return _MINUS.sub(r"\\ensuremath{-}", words)


def table(rows: Sequence[Mapping[str, str]], caption: str, label: str) -> str:
    """Format rows of text as a LaTeX table, which needs the packages booktabs and graphicx.

    A cell of several lines is stacked, and a table wider than the text is scaled to its width. In a paper of
    two columns, a table of more than eight columns spans both.

    Args:
        rows: texts by column, as for `studies.report.markdown.table`.
        caption: text above the table.
        label: its label, in ASCII letters, digits, colons and hyphens.
    """
    if not rows:
        return ""
    headers = list(rows[0])
    environment = "table" if len(headers) <= _NARROW else "table*"
    space = [r"\addlinespace"] if any("\n" in text for row in rows for text in row.values()) else []
    body = [line for row in rows for line in (*space, _line([row[name] for name in headers]))]
    lines = [
        r"% Needs \usepackage{booktabs,graphicx}.",
        rf"\begin{{{environment}}}",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{{label}}}",
        r"\smallskip",
        rf"{_NO_WIDER}{{%",
        rf"\begin{{tabular}}{{{'l' * len(headers)}}}",
        r"\toprule",
        _line(headers),
        r"\midrule",
        *body[len(space) :],
        r"\bottomrule",
        r"\end{tabular}}",
        rf"\end{{{environment}}}",
    ]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    first, *others = map(_stacked, cells)
    if first.startswith("["):
        first = f"{{}}{first}"  # after a line break, a bracket would be read as its height
    return rf"{' & '.join([first, *others])} \\"


def _stacked(cell: str) -> str:
    lines = [escape(line) for line in cell.split("\n")]
    if len(lines) == 1:
        return lines[0]
    return r"\begin{tabular}[t]{@{}l@{}}" + r"\\{}".join(lines) + r"\end{tabular}"


def add(analysis: Analysis, page: Page, name: str, data: str) -> None:
    """Add the results, the differences from the reference cell, and the effects of axes as LaTeX tables.

    Args:
        analysis: the statistics of one data set.
        page: the page.
        name: name of the study, for labels.
        data: name of the data set, for labels and captions; empty if the study has no other.
    """
    study, name = analysis.study, slug(f"{name} {data}")
    of_data = f"{data}: " if data else ""
    rows = tables.result_rows(study, analysis.table, analysis.leading)
    caption = "Mean, standard deviation and 95 % interval of the mean (Student's t) over n runs."
    if any("†" in text for row in rows for text in row.values()):
        caption += " †: an outlier among the runs (Iglewicz and Hoaglin, 1993)."
    page.latex("results", table(rows, of_data + caption, f"tab:{name}-results"))
    labels = [str(number) for number in study.numbers]
    for measure, comparison in analysis.contrasts.items():
        if study.reference is not None:
            found = tables.comparison_rows(measure, comparison, labels, study.reference, "cell")
            caption = (
                f"Difference in {measure.label} from cell {labels[study.reference]}, paired by seed, with its"
                " 95 % interval. p: sign-flip permutation test."
            )
            key = measure.key.rpartition(".")[2].replace("_", "-")
            page.latex(f"differences {key}", table(found, of_data + caption, f"tab:{name}-differences-{key}"))
    for axis, along in analysis.effects.items():
        drawn = [along[measure] for measure in analysis.compared if measure in along]
        if drawn:
            words = tables.axis_names(study.axes)[axis]
            averaged = len(drawn[0].contexts.cells) > 1
            found = tables.level_rows(drawn, study.texts[axis], drawn[0].contexts.reference, words)
            caption = f"Mean and 95 % interval by {words}" + (
                ", averaged over the settings of the other axes." if averaged else "."
            )
            label = f"tab:{name}-{words.replace(' ', '-')}"
            page.latex(f"effect {words}", table(found, of_data + caption, label))
