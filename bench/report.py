"""The throughput page, from the results of the benchmarks, and the check for regressions.

python bench/report.py                      results/throughput-*.json -> results/throughput.md and its figures
python bench/report.py --compare NEW.json   exit code 1 if a ratio to another contestant fell by 15 %
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import quality_page
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from questions import ENGINE, QUESTIONS, Row, answer, cost, growth, percent, question, within
from tabulate import tabulate

from moevae.visualization.style import draw
from studies.records import race as races
from studies.records.race import Race

RATIOS = {"ratio_to_naive": "the naive loop", "ratio_to_beside": "the other contestant"}
"""Ratios of speeds in a row, with what the row is compared to."""
FEW = 10
"""Largest number of rows of a table that is not folded."""
Measured = Mapping[str, Any]
"""The results of the benchmarks on one machine."""

RESULTS = Path(__file__).parent.parent / "results"
FALLEN = 0.85
"""A ratio below this share of the committed one is a regression."""
NOISE_MIB = 1
"""Smallest reported growth of memory."""
LEAST_RANGE = 4
"""Smallest ratio of the limits of a time axis, so that constant times look constant."""
SLOW_FIRST = 5.0
"""Smallest duration of a first call that is shown, in seconds, such as that of compilation."""
DEVICES = {"cpu": "CPU", "cuda": "GPU (CUDA)"}
SWEPT = {
    "batch": "batch size",
    "experts": "experts",
    "hidden": "hidden width",
    "runs": "runs",
    "images_seen": "images",
    "chunk": "samples together",
}


def page(measured: Sequence[Measured], compared: Mapping[str, Race]) -> tuple[str, dict[str, Figure]]:
    """Return the page as Markdown, and its figures by file name.

    Args:
        measured: the results of the machines.
        compared: the results of `time_to_quality.py`, by the name of their figure.
    """
    machines = {name_of(each): each for each in measured}
    text = [
        "# Throughput",
        "Made by `nox -s bench`; not edited by hand. A section answers a question in its first line and "
        "compares the machines side by side. A cell of a table shows the median time of a step, its speed "
        "relative to the other contestant (>1 is faster), and its share of the machine's peak. Contestants "
        "take turns within a round, and ratios are medians over rounds. One thread is timed by its processor "
        "time, which other processes hardly change. The naive loop (`bench/naive.py`) "
        "has a process of its own, with default settings. The peak is a product of square matrices of the "
        "same precision, timed between the rounds (1024 rows on a CPU, 8192 on a GPU). Quartiles, first "
        "calls, memory and operations are in `throughput-*.json`. Long tables are folded; growth is the "
        "power of what is swept that time grows with. A share above 100% comes from a clock that varies.",
        _table(map(_machine, measured)),
        *_targets(machines),
    ]
    for name, race in compared.items():
        text += [*quality_page.section(race), f"![{quality_page.heading(race)}](throughput/{name}.png)"]
    groups = {entry["group"]: None for each in measured for entry in each["benchmarks"] if _timed(entry)}
    for group in (
        *(name for name in QUESTIONS if name in groups),
        *(name for name in groups if name not in QUESTIONS),
    ):
        text += _section(
            group, {name: _rows(each, group) for name, each in machines.items() if _rows(each, group)}
        )
    text += _engine(machines)
    figures = {
        f"{name}.png": figure for name, each in machines.items() if (figure := _figure(each)) is not None
    }
    if figures:
        text += [
            "## Time of a step by what is swept",
            *(f"![{name[:-4]}](throughput/{name})" for name in figures),
        ]
    missing = [
        f"- {name}: no results. The benchmarks are ready (`nox -s bench -- --device {kind} --size paper`), "
        "but have not run on such a device."
        for kind, name in DEVICES.items()
        if kind not in {each["origin"]["hardware"]["device"] for each in measured}
    ]
    missing += [
        f"- {name}: {reason}." for name, each in machines.items() for reason in each["origin"]["left_out"]
    ]
    if missing:
        text += ["## Missing", "\n".join(missing)]
    figures |= {f"{name}.png": quality_page.figure(race) for name, race in compared.items()}
    return "\n\n".join(text) + "\n", figures


def regressions(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[str], int]:
    """Return a line for each ratio to another contestant that has decreased, and how many were compared."""
    before = {entry["name"]: entry["extra_info"] for entry in old["benchmarks"]}
    found, compared = [], 0
    for entry in new["benchmarks"]:
        for key, other in RATIOS.items():
            was, now = before.get(entry["name"], {}).get(key), entry["extra_info"].get(key)
            compared += bool(was and now)
            if was and now and now["median"] < FALLEN * was["median"]:
                found.append(
                    f"{entry['name']}: {now['median']:.2f} times as fast as {other}, was {was['median']:.2f}"
                )
    return found, compared


def name_of(measured: Mapping[str, Any]) -> str:
    """Return the name in file names: the device, and the machine if it has a name."""
    origin = measured["origin"]
    return "-".join(filter(None, [origin["hardware"]["device"], origin.get("machine")]))


def _machine(measured: Measured) -> dict[str, str]:
    """Return the row of a machine in the table at the top of the page."""
    origin, hardware = measured["origin"], measured["origin"]["hardware"]
    rows = [entry["extra_info"] for entry in measured["benchmarks"] if "peak_gflops" in entry["extra_info"]]
    peaks, best = [], []
    for dtype in sorted({row["dtype"] for row in rows}, reverse=True):
        own = [row for row in rows if row["dtype"] == dtype]
        top = max(own, key=lambda row: row["share_of_peak"])
        peaks.append(f"{dtype} {np.median([row['peak_gflops'] for row in own]):,.0f}")
        best.append(f"{dtype} {percent(top['share_of_peak'])} ({top['row']})")
    kind = f"{hardware['device_name']}, {origin.get('instructions') or hardware['device']}"
    cores = f"{hardware['threads']} of {hardware['cores']} cores, {hardware['memory_gib']} GiB"
    commit = f"{(origin['commit'] or 'unknown')[:12]}{' (changed)' if origin['dirty'] else ''}"
    return {
        "machine": name_of(measured),
        "hardware": f"{kind}, {cores}",
        "peak (GFLOP/s)": "; ".join(peaks),
        "best share of the peak": "; ".join(best),
        "torch": origin["versions"].get("torch", "unknown"),
        "commit": commit,
        "sizes": origin["size"],
        "load at the end": f"{origin['load_average']:.1f}",
    }


def _targets(machines: Mapping[str, Measured]) -> list[str]:
    """Return the section of all rows that have a target: ratios, shares, times and memory."""
    found: dict[str, dict[str, str]] = {}
    missed = []
    for machine, measured in machines.items():
        for entry in measured["benchmarks"]:
            for name, aim, cell, met in _aims(entry):
                found.setdefault(name, {"": name, "target": aim})[machine] = cell if met else f"**{cell}**"
                if not met:
                    missed.append(f"{name} on {machine}")
    if not found:
        return []
    rows = [{key: row.get(key, "–") for key in ("", "target", *machines)} for row in found.values()]
    verdict = f"Not met: {'; '.join(missed)}" if missed else "Every measured target is met"
    return ["## Are the targets met?", f"**{verdict}.**", _table(rows)]


def _aims(entry: Mapping[str, Any]) -> Iterable[tuple[str, str, str, bool]]:
    """Yield what each target of a benchmark is about, the target, the value, and whether it is met."""
    info = entry["extra_info"]
    target, share, limit = (info.get(key) for key in ("target", "target_share", "limit_mib"))
    if target is not None and _timed(entry):
        ratio = info.get("ratio_to_naive", info.get("ratio_to_beside"))["median"]
        other = "the naive loop" if "ratio_to_naive" in info else question(entry["group"]).other
        if question(entry["group"]).about == "cost":
            name = f"{info['row']}, times as long as {other}"
            yield name, f"≤ {1 / target:g}", f"{1 / ratio:.2f}", ratio >= target
        else:
            name = f"{info['row']}, times as fast as {other}"
            yield name, f"≥ {target:g}", f"{ratio:.2f}", ratio >= target
    elif target is not None:
        yield info["what"], f"≤ {_seconds(target)}", _seconds(info["seconds"]), info["seconds"] <= target
    if share is not None:
        swept = "".join(f", {SWEPT[name]} {value:,}" for name, value in info["facts"].items())
        name, found = f"{info['row']}{swept}, share of the peak", info["share_of_peak"]
        yield name, f"≥ {percent(share)}", percent(found), found >= share
    if limit is not None:
        grown = info["peak_memory_mib"]
        yield f"memory of {info['what']}", f"≤ {limit} MiB", f"{grown} MiB", grown <= limit


def _timed(entry: Mapping[str, Any]) -> bool:
    return "row" in entry["extra_info"]


def _rows(measured: Measured, group: str) -> list[Row]:
    return [
        entry["extra_info"] for entry in measured["benchmarks"] if entry["group"] == group and _timed(entry)
    ]


def _section(group: str, by_machine: Mapping[str, Sequence[Row]]) -> list[str]:
    first = next(iter(by_machine.values()))[0]
    make = _quality if "quality" in first else _times
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for machine, rows in by_machine.items():
        for head, cell in make(rows):
            found.setdefault(tuple(head.values()), dict(head))[machine] = cell
    order = list(dict.fromkeys(head[0] for head in found))
    rows = sorted(found.items(), key=lambda item: order.index(item[0][0]))
    return [
        f"## {question(group).words}",
        answer(group, by_machine),
        _folded({key: row.get(key, "–") for key in (*row, *by_machine)} for _, row in rows),
    ]


def _times(rows: Sequence[Row]) -> Iterable[tuple[dict[str, str], str]]:
    """Yield the heading and the cell of each row, and of the growth in a sweep."""
    for row in rows:
        facts = {SWEPT[name]: f"{value:,}" for name, value in row["facts"].items() if name in SWEPT}
        cell = [_seconds(row["seconds"]["median"])]
        if "runs" in row["facts"] and "ratio_to_beside" in row:
            cell.append(f"{cost(row):.2f} a run")
        else:
            cell += [
                f"{row[key]['median']:.2f}×" for key in ("ratio_to_naive", "ratio_to_beside") if key in row
            ]
        if "share_of_peak" in row:
            cell.append(percent(row["share_of_peak"]))
        if row["first_call_seconds"] > SLOW_FIRST:
            cell.append(f"first call {_seconds(row['first_call_seconds'])}")
        yield {"": row["row"], **facts}, ", ".join(cell)
    swept = next((name for name in SWEPT if name in rows[0]["facts"]), None)
    for name in dict.fromkeys(row["row"] for row in rows):
        own = [row for row in rows if row["row"] == name]
        if swept and len({row["facts"][swept] for row in own}) > 1:
            yield {"": f"{name}: growth", SWEPT[swept]: "–"}, _growth(own, swept)


def _growth(rows: Sequence[Row], swept: str) -> str:
    """Return the exponent of the growth of time, and the memory per unit if memory grows at every step."""
    places = np.array([row["facts"][swept] for row in rows], float)
    peaks = np.array([row["peak_memory_mib"] for row in rows])[places.argsort()]
    words = f"power {growth(rows):.2f}"
    if (np.diff(peaks) > 0).all() and np.ptp(peaks) > NOISE_MIB:
        words += f", {np.polyfit(np.sort(places), peaks, 1)[0]:.3g} MiB each"
    return words


def _quality(rows: Sequence[Row]) -> Iterable[tuple[dict[str, str], str]]:
    """Yield the paired difference to soft with its standard error, bold beyond the spread of the seeds."""
    for row in rows:
        for name, found in row["quality"].items():
            words = f"{found['difference']:+.3f} ± {found['standard_error']:.3f}"
            mean = f"{found['mean']:.3f} ({words}, seeds {found['seed_spread']:.3f})"
            yield {"": row["row"], "on test": name}, mean if within(found) else f"**{mean}**"


def _engine(machines: Mapping[str, Measured]) -> list[str]:
    """Return the section of benchmarks that have neither a throughput nor a target."""
    found: dict[str, dict[str, str]] = {}
    longest = (0.0, "")
    for machine, measured in machines.items():
        for entry in measured["benchmarks"]:
            info = entry["extra_info"]
            if _timed(entry) or any(_aims(entry)):
                continue
            name = info.get("what", entry["name"].removeprefix("test_").replace("_", " "))
            seconds = info.get("seconds", entry["stats"]["median"])
            cell = _seconds(seconds)
            if "peak_memory_mib" in info:
                cell += f", {info['peak_memory_mib']:,} MiB"
            found.setdefault(name, {"": name})[machine] = cell
            longest = max(longest, (seconds, f"{name} on {machine}, {_seconds(seconds)}"))
    if not found:
        return []
    rows = [{key: row.get(key, "–") for key in ("", *machines)} for row in found.values()]
    return [f"## {ENGINE.words}", f"**The longest: {longest[1]}.**", _table(rows)]


def _seconds(value: float) -> str:
    return f"{1e3 * value:.3g} ms" if value < 1 else f"{value:.3g} s"


def _table(rows: Iterable[Mapping[str, str]]) -> str:
    return tabulate(list(rows), headers="keys", tablefmt="pipe", disable_numparse=True)


def _folded(rows: Iterable[Mapping[str, str]]) -> str:
    """Return a table, within a collapsed section if it is long."""
    rows = list(rows)
    if len(rows) <= FEW:
        return _table(rows)
    return f"<details>\n<summary>{len(rows)} rows</summary>\n\n{_table(rows)}\n\n</details>"


def _figure(measured: Measured) -> Figure | None:
    """Plot times against the swept variable, one panel per group; None without a sweep."""
    panels = {}
    for group in QUESTIONS:
        rows = _rows(measured, group)
        swept = next((name for name in SWEPT if rows and name in rows[0].get("facts", {})), None)
        if swept and len({row["facts"][swept] for row in rows}) > 1:
            panels[group] = rows, swept
    if not panels:
        return None
    wide = min(2, len(panels))
    tall = -(-len(panels) // wide)
    figure = Figure(figsize=(4.6 * wide, 3.4 * tall), dpi=120, layout="constrained")
    places = figure.subplots(tall, wide, squeeze=False)
    for place, (group, (rows, swept)) in zip(places.flat, panels.items(), strict=False):
        _panel(place, rows, swept)
        place.set_title(group, fontsize=9)
    for place in places.flat[len(panels) :]:
        place.set_axis_off()
    return figure


def _panel(axes: Axes, rows: Sequence[Row], swept: str) -> None:
    """Plot the times of each row on logarithmic axes."""
    for name, marker in zip(dict.fromkeys(row["row"] for row in rows), "osD^vPX", strict=False):
        own = [row for row in rows if row["row"] == name]
        places = [row["facts"][swept] for row in own]
        low, middle, high = (
            np.array([1e3 * row["seconds"][part] for row in own]) for part in ("q1", "median", "q3")
        )
        axes.errorbar(places, middle, [middle - low, high - middle], marker=marker, capsize=3, label=name)
    axes.set(xscale="log", yscale="log", xlabel=SWEPT[swept], ylabel="ms a step")
    measured = sorted({row["facts"][swept] for row in rows})
    axes.set_xticks(measured, [f"{place:,}" for place in measured], fontsize=8)
    axes.set_xticks([], minor=True)
    bottom, top = axes.get_ylim()
    spare = max(1.0, (LEAST_RANGE * bottom / top) ** 0.5)
    axes.set_ylim(bottom / spare, top * spare)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if top > 10 * bottom else (1, 2, 3, 4, 6, 8)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)


def main() -> int:
    """Write the page, or compare results."""
    parser = argparse.ArgumentParser(
        description="Write results/throughput.md, or compare with the committed results."
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--compare", type=Path, metavar="NEW.json")
    options = parser.parse_args()
    if options.compare:
        new = json.loads(options.compare.read_text())
        kept = options.results / f"throughput-{name_of(new)}.json"
        if not kept.exists():
            print(f"{kept}: not found; measure it first, without --compare or -k", file=sys.stderr)
            return 2
        found, compared = regressions(json.loads(kept.read_text()), new)
        print("\n".join(found) or f"none of {compared} ratios fell below {FALLEN:.0%} of {kept.name}'s")
        return bool(found)
    measured = [json.loads(path.read_text()) for path in sorted(options.results.glob("throughput-*.json"))]
    if not measured:
        print(f"{options.results}: no throughput-*.json; run nox -s bench", file=sys.stderr)
        return 2
    compared = {path.stem: races.read(path) for path in sorted(options.results.glob(races.PATTERN))}
    text, figures = page(measured, compared)
    folder = options.results / "throughput"
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
        (folder / name).write_bytes(draw(figure).png)
    (options.results / "throughput.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
