"""The parts of a study's page, each a function that adds its Markdown and its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np

from studies import measures, plots, stats, tables
from studies.measures import Measure
from studies.study import Run, Study
from studies.tables import escape

STRENGTH, TEMPERATURE = "objective.balance_weight", "routing.temperature"


@dataclass
class Page:
    """Blocks of Markdown in order, and the PNG files that they show."""

    blocks: list[str] = field(default_factory=list)
    figures: dict[str, bytes] = field(default_factory=dict)

    def add(self, *blocks: str) -> None:
        """Append blocks; empty ones are left out."""
        self.blocks.extend(block for block in blocks if block)

    def show(self, name: str, content: bytes, words: str) -> None:
        """Append a figure with the words that stand for it where it cannot be seen."""
        self.figures[name] = content
        self.add(f"![{escape(words)}](figures/{name})")

    def text(self) -> str:
        """Return the page."""
        return "\n\n".join(self.blocks) + "\n"


def head(study: Study, page: Page) -> None:
    """Title, description, and whether the study is still running."""
    page.add(f"# {escape(study.title)}", escape(study.description))
    if study.partial:
        total = study.planned_cells * len(study.planned_seeds)
        page.add(
            f"> **Partial.** {total - len(study.missing)} of {total} planned runs have ended; "
            "the numbers below are of those alone."
        )


def provenance(study: Study, page: Page) -> None:
    """What was run and where."""
    complete = [run for run in study.runs if run.complete]
    counts = f"{len(complete)} complete, {len(study.failed)} failed, {len(study.missing)} missing"
    rows = [
        ("Cells", f"{len(study.cells)}, of {' × '.join(str(len(v)) for v in study.axes.values()) or '1'}"),
        ("Seeds", ", ".join(map(str, study.seeds))),
        ("Runs", counts),
    ]
    names = tables.words(tuple(study.axes))
    rows += [
        (names[axis].capitalize(), ", ".join(map(tables.show, values))) for axis, values in study.axes.items()
    ]
    parts = [run.record for run in study.runs]
    data = (
        f"{part.data.name}: {part.data.train:,} train, {part.data.validation:,} validation, "
        f"{part.data.test:,} test, sha256 {part.data.sha256[:12]}"
        for part in parts
    )
    hardware = (
        f"{p.hardware.device_name} ({p.hardware.device}, {p.hardware.precision}, "
        f"{p.hardware.threads} threads, {p.hardware.cores} cores, {p.hardware.memory_gib:.0f} GiB)"
        for p in parts
    )
    versions = (
        ", ".join(f"{name} {part.versions[name]}" for name in sorted(part.versions)) for part in parts
    )
    commits = (f"{(p.commit or 'unknown')[:12]}{' (dirty)' if p.dirty else ''}" for p in parts)
    rows += [
        ("Data", _distinct(data)),
        ("Hardware", _distinct(hardware)),
        ("Versions", _distinct(versions)),
        ("Commit", _distinct(commits)),
    ]
    page.add("## What was run, and where", tables.markdown([{"": key, " ": value} for key, value in rows]))


def results(study: Study, page: Page) -> None:
    """The main table and how to read it."""
    page.add(
        "## Results",
        "One row a cell. Numbers are of the test split: mean ± standard deviation (ddof = 1) over n seeds. "
        "A run that failed or is missing lowers n and is listed below; nothing is put in its place. "
        "ELBO is the mixture bound on log p(x) in nats per image. NMI, ARI and ACC (one-to-one, Hungarian) "
        "use the labels; training never does. Speed is that of the whole population a run trained in.",
        tables.results(study),
        "All measures: [table.csv](table.csv).",
    )


def heat_maps(study: Study, page: Page) -> None:
    """Strength against temperature for each routing and data set: clustering and bound."""
    if any(len(study.axes.get(axis, ())) < 2 for axis in (STRENGTH, TEMPERATURE)):
        return
    page.add("## Strength against temperature")
    others = [axis for axis in study.axes if axis not in (STRENGTH, TEMPERATURE)]
    facets = [axis for axis in others if axis in ("routing.kind",)]
    pages = [axis for axis in others if axis not in facets]
    for number, fixed in enumerate(product(*(study.axes[axis] for axis in pages))):
        at = dict(zip(pages, fixed, strict=True))
        names = tables.words(tuple(study.axes))
        where = ", ".join(f"{names[axis]} {tables.show(value)}" for axis, value in at.items())
        for measure in tables.measured(study, (measures.NMI, measures.ELBO)):
            panels = {
                ", ".join(map(tables.show, facet)) or measure.label: _grid(
                    study, measure, at | dict(zip(facets, facet, strict=True))
                )
                for facet in product(*(study.axes[axis] for axis in facets))
            }
            content = plots.heat_maps(
                panels,
                measure,
                [tables.show(value) for value in study.axes[STRENGTH]],
                [tables.show(value) for value in study.axes[TEMPERATURE]],
                (names[STRENGTH], names[TEMPERATURE]),
            )
            suffix = f"-{number}" if pages else ""
            words = f"Mean {measure.heading} by {names[STRENGTH]} and {names[TEMPERATURE]}"
            page.add(f"**{measure.label}**{', ' + escape(where) if where else ''}")
            page.show(f"heat-{measure.label.lower()}{suffix}.png", content, words)


def chosen_run(study: Study, page: Page) -> None:
    """What the experts of one run draw, and which classes they take; the run is chosen without labels."""
    key = "validation.mixture_elbo"
    for number, data in enumerate(dict.fromkeys(run.record.data.name for run in study.runs)):
        runs = [run for run in study.runs if run.record.data.name == data and key in run.metrics]
        if not runs:
            continue
        best = max(runs, key=lambda run: run.metrics[key])
        several = len({run.record.data.name for run in study.runs}) > 1
        page.add(f"## The experts{' on ' + escape(data) if several else ''}")
        page.add(
            f"Of the run with the best validation bound ({best.metrics[key]:.2f} nats; a choice that sees "
            f"no labels): {escape(tables.cell_name(study, best.cell))}, seed {best.seed} "
            f"(record `{best.record.fingerprint}`)."
        )
        _pictures(study, page, best, f"-{number}" if several else "")


def losses(study: Study, page: Page) -> None:
    """The runs that failed or are missing, and the files that could not be read."""
    if not (study.failed or study.missing or study.unread):
        return
    page.add("## Failed, missing, unread")
    rows = [
        {
            "cell": tables.cell_name(study, run.cell),
            "seed": str(run.seed),
            "what": f"failed{_when(run)}",
        }
        for run in study.failed
    ]
    rows += [
        {"cell": tables.cell_name(study, cell), "seed": str(seed), "what": "missing: no record"}
        for cell, seed in study.missing
    ]
    page.add(tables.markdown(rows))
    page.add("\n".join(f"- not counted: {escape(reason)}" for reason in study.unread))


def remaking(study: Study, page: Page) -> None:
    """The commands that make the study and this page anew."""
    lines = [
        f"nox -s report -- {study.name}    # this page, from the records",
        study.command + "    # the runs",
    ]
    page.add("## Make it anew", "```sh\n" + "\n".join(lines) + "\n```")


def _grid(study: Study, measure: Measure, fixed: dict[str, object]) -> np.ndarray:
    means = stats.summarize(study.matrix(measure.key)).mean
    strengths, temperatures = list(study.axes[STRENGTH]), list(study.axes[TEMPERATURE])
    grid = np.full((len(strengths), len(temperatures)), np.nan)
    for cell in range(len(study.cells)):
        if all(study.value(cell, axis) == value for axis, value in fixed.items()):
            row = strengths.index(study.value(cell, STRENGTH))
            grid[row, temperatures.index(study.value(cell, TEMPERATURE))] = means[cell]
    return grid


def _pictures(study: Study, page: Page, run: Run, suffix: str) -> None:
    picture = run.record.pictures.get("samples")
    if picture is not None:
        content = (study.folder / "records" / Path(picture.file).name).read_bytes()
        page.add("What each expert draws as training goes on:")
        page.show(
            f"experts{suffix}.png",
            plots.expert_tiles(content, picture.rows, picture.columns),
            "Samples of each expert (columns) by epoch (rows)",
        )
    table = run.record.confusion
    if table is not None:
        page.add("Test images by expert and class:")
        experts = [str(index) for index in range(len(table.counts))]
        page.show(
            f"confusion{suffix}.png",
            plots.confusion(np.array(table.counts), table.classes, experts),
            "Counts of test images by expert (rows) and class (columns)",
        )


def _when(run: Run) -> str:
    failure = run.record.failure
    if failure is None:
        return ", no reason left"
    return f"{'' if failure.epoch is None else f' in epoch {failure.epoch}'}: {failure.reason}"


def _distinct(values: Iterable[str]) -> str:
    """Return the distinct values by how often they occur, with the count where there are several."""
    counts = Counter(values)
    if len(counts) < 2:
        return "".join(counts) or "–"
    return "; ".join(
        f"{value} ({count} runs)" for value, count in sorted(counts.items(), key=lambda i: (-i[1], i[0]))
    )
