"""Literature values, read from `literature.toml` and shown apart from measured values."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from studies.analysis import metrics
from studies.report import markdown
from studies.utils import toml_files

if TYPE_CHECKING:
    from studies.analysis.study import Study
    from studies.report.page import Page

PATH = Path(__file__).with_suffix(".toml")


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    data: str
    source: str


class Clustering(_Row):
    """Clustering metrics as printed in the source; empty if the source does not report them."""

    acc: str = ""
    """One-to-one (Hungarian)."""
    nmi: str = ""
    ari: str = ""
    purity: str = ""
    """Many-to-one: higher than `acc`, and not comparable with it."""
    runs: str = ""
    protocol: str = ""
    """Images that are fitted and scored, such as `70,000 images`; empty if the source does not say."""
    clusters: str = "given"
    """Whether the number of clusters is `given` or `found`."""
    labels: str = ""
    """What labels chose, if known."""


class Likelihood(_Row):
    """Log-likelihood in nats per image, as printed in the source."""

    pixels: str
    value: str


class Published(BaseModel):
    """Content of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clustering: tuple[Clustering, ...]
    likelihood: tuple[Likelihood, ...]


@functools.cache
def published() -> Published:
    """Return the literature values.

    Raises:
        RecordError: the file is invalid.
    """
    return toml_files.read(PATH, Published)


def section(study: Study, page: Page) -> None:
    """Add the literature values for the data sets of the study, if any.

    Likelihoods are shown where the study measures the IWAE bound of binary pixels.

    Args:
        study: the study.
        page: the page of the report.
    """
    names = set(study.by_data())
    clustering = [row for row in published().clustering if row.data in names]
    measured = any(metrics.IWAE.key in run.metrics and "binarized" in run.likelihood for run in study.runs)
    likelihood = [row for row in published().likelihood if measured and row.data in names]
    if clustering or likelihood:
        page.head("Literature values, not reproduced")
        page.add("These values come from other code, splits and seeds, and are listed for context.")
    if likelihood:
        page.add(
            "Likelihoods are negative, -log p(x) or a bound on it: lower is better, and the bounds of this "
            "page have the opposite sign. A number of samples is that of the estimate; without one, the "
            "source does not give it. Static and dynamic binarization are different protocols. A collapsed "
            "gate can have the better bound, so neither likelihood nor clustering implies the other."
        )
        page.rows(_likelihoods(likelihood), len(likelihood))
    if clustering:
        page.add(
            "ACC is one-to-one. Purity is many-to-one and therefore higher; the two are not comparable. "
            "*scored on*: the images whose labels give the scores. *clusters*: their number, given or found. "
            "*labels chose*: what labels selected, such as settings. *runs*: their number, or "
            "which of them the value is of; *logs* and *shipped weights* are training logs and trained "
            "weights that authors published. An empty field is one that the source does not state."
        )
        page.rows(_rows(clustering), 0 if likelihood else len(clustering))


def table_of(rows: Sequence[Clustering]) -> str:
    """Return literature values of one data set as a Markdown table, in the order of the file."""
    shown = [{key: value for key, value in row.items() if key != "data"} for row in _rows(rows)]
    return markdown.table(shown)


def _likelihoods(rows: Sequence[Likelihood]) -> list[dict[str, str]]:
    return [
        {
            "method": row.method,
            "data": f"{row.data}, {row.pixels}",
            "nats per image": row.value,
            "source": row.source,
        }
        for row in rows
    ]


def _rows(rows: Sequence[Clustering]) -> list[dict[str, str]]:
    return [
        {
            "method": row.method,
            "data": row.data,
            "ACC": row.acc,
            "NMI": row.nmi,
            "ARI": row.ari,
            "purity": row.purity,
            "runs": row.runs,
            "scored on": row.protocol,
            "clusters": row.clusters,
            "labels chose": row.labels,
            "source": row.source,
        }
        for row in rows
    ]
