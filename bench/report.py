"""The page of speeds, made from what the benchmarks wrote; and the alarm where a ratio has fallen.

python bench/report.py                      results/throughput-*.json -> results/throughput.md and its plots
python bench/report.py --compare NEW.json   exit code 1 where a ratio to the naive loop fell by 15 %
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from tabulate import tabulate

from moevae.visualization.style import png

Entry = Mapping[str, Any]

RESULTS = Path(__file__).parent.parent / "results"
FALLEN = 0.85
"""A ratio below this share of the committed one is a regression."""
CARD_GIB = 80
NOISE_MIB = 1
"""Memory that grows by less says nothing of what would fit a card."""
LEAST_RANGE = 4
"""Of a figure's milliseconds, last over first: what does not change should look so."""
DEVICES = {"cpu": "CPU", "cuda": "GPU (CUDA)"}
BESIDE_SPEED = {"nmi": "NMI on digits", "mixture_elbo": "ELBO on digits"}
"""Differences to soft that stand beside a path's speed."""
SWEPT = {
    "batch": "batch size",
    "experts": "experts",
    "hidden": "hidden width",
    "runs": "runs",
    "images_seen": "images",
    "chunk": "samples together",
}


def page(measured: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, Figure]]:
    """Return the page as Markdown, and its figures by file name."""
    text = [
        "# Throughput",
        "Made by `nox -s bench`; not edited by hand. Every ratio is the median, with quartiles, of rounds in"
        " which the contestants took turns. The naive loop (`bench/naive.py`) has a process of its own, with"
        " the defaults that a reader would have. Operations are those of the matrix products, exact; the peak"
        " is a product of square matrices timed between the rounds, of 1024 rows on a CPU and 8192 on a GPU,"
        " so a share of it says how near the machine's limit a step is.",
    ]
    figures: dict[str, Figure] = {}
    for each in measured:
        text += _device(each, figures)
    there = {each["origin"]["hardware"]["device"] for each in measured}
    missing = [name for kind, name in DEVICES.items() if kind not in there]
    lines = [
        f"- {name}: no rows at all. The benchmarks are ready (`nox -s bench -- --device cuda --size paper`),"
        " but have not been run on such a device."
        for name in missing
    ]
    lines += [f"- {_title(each)}: {reason}." for each in measured for reason in each["origin"]["left_out"]]
    if lines:
        text += ["## Missing", "\n".join(lines)]
    return "\n\n".join(text) + "\n", figures


def regressions(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line for each row whose ratio to the naive loop fell."""
    before = {entry["name"]: entry["extra_info"].get("ratio_to_naive") for entry in old["benchmarks"]}
    found = []
    for entry in new["benchmarks"]:
        was, now = before.get(entry["name"]), entry["extra_info"].get("ratio_to_naive")
        if was and now and now["median"] < FALLEN * was["median"]:
            found.append(
                f"{entry['name']}: {now['median']:.2f} times the naive loop, was {was['median']:.2f}"
            )
    return found


def name_of(measured: Mapping[str, Any]) -> str:
    """Return what the files of these rows are called by: the device, and the machine if it has a name."""
    origin = measured["origin"]
    return "-".join(filter(None, [origin["hardware"]["device"], origin.get("machine")]))


def _device(measured: Mapping[str, Any], figures: dict[str, Figure]) -> list[str]:
    origin, hardware = measured["origin"], measured["origin"]["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    text = [
        f"## {_title(measured)}",
        f"{hardware['threads']} thread(s) of {hardware['cores']} core(s), {hardware['memory_gib']} GiB."
        f" {versions}. Commit {(origin['commit'] or 'unknown')[:12]}{', changed' if origin['dirty'] else ''}."
        f" Sizes: `{origin['size']}`. Load of the machine at the end: {origin['load_average']:.1f}.",
    ]
    groups: dict[str, list[Entry]] = defaultdict(list)
    others: dict[str, list[dict[str, str]]] = defaultdict(list)
    for entry in measured["benchmarks"]:
        if "row" in entry["extra_info"]:
            groups[entry["group"]].append(entry["extra_info"])
        else:
            others[entry["group"] or "the engine of studies"].append(_other(entry))
    quality = {
        entry["row"]: entry["quality"]
        for entries in groups.values()
        for entry in entries
        if "quality" in entry
    }
    for group, entries in groups.items():
        text += [
            f"### {group[0].upper()}{group[1:]}",
            _quality(entries) if "quality" in entries[0] else _table(entries, quality),
        ]
        swept = [name for name in SWEPT if name in entries[0].get("facts", {})]
        if swept and len({entry["facts"][swept[0]] for entry in entries}) > 1:
            name = f"{name_of(measured)}-{group.replace(' ', '-').replace(',', '')}.png"
            figures[name] = _figure(entries, swept[0])
            text += [f"![{group}](throughput/{name})", _slopes(entries, swept[0], hardware["device"])]
    for title, rows in others.items():
        text += [
            f"### {title[0].upper()}{title[1:]}",
            tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True),
        ]
    return text


def _title(measured: Mapping[str, Any]) -> str:
    hardware, instructions = measured["origin"]["hardware"], measured["origin"].get("instructions")
    device = DEVICES.get(hardware["device"], hardware["device"])
    return f"{device}: {hardware['device_name']}{f', {instructions}' if instructions else ''}"


def _other(entry: Entry) -> dict[str, str]:
    """Return the row of a benchmark that has no speed in images."""
    facts = ", ".join(f"{name}: {value:.3g}" for name, value in entry["extra_info"].items())
    name = entry["name"].removeprefix("test_").replace("_", " ")
    return {
        "": name,
        "median, s": f"{entry['stats']['median']:.3g}",
        "n": str(entry["stats"]["rounds"]),
        "of": facts,
    }


def _table(entries: Sequence[Entry], quality: Mapping[str, Any]) -> str:
    rows = []
    for entry in entries:
        facts = {SWEPT[name]: value for name, value in entry["facts"].items()}
        row = {"": entry["row"], **facts, "images/s": f"{entry['images_per_second']:,.0f}"}
        row["ms"] = _spread(entry["seconds"], 1e3)
        if "ratio_to_naive" in entry:
            row["times the naive loop"] = _spread(entry["ratio_to_naive"])
        if "ratio_to_beside" in entry:
            row["times what it is compared with"] = _spread(entry["ratio_to_beside"])
        if "runs" in entry["facts"]:
            alone = np.array([entry["ratio_to_beside"][part] for part in ("median", "q3", "q1")])
            cost = 1 / alone / entry["facts"]["runs"]
            row["cost of a run, alone = 1"] = f"{cost[0]:.2f} ({cost[1]:.2f}–{cost[2]:.2f})"
        if "share_of_peak" in entry:
            row["MFLOP/image"] = f"{entry['flops_per_image'] / 1e6:.2f}"
            row["of the peak"] = f"{entry['share_of_peak']:.0%} of {entry['peak_gflops']:,.0f} GFLOP/s"
        for name, title in BESIDE_SPEED.items():
            if entry["row"] in quality:
                found = quality[entry["row"]][name]
                row[f"{title}, seeds' spread"] = f"{found['difference']:+.3f}, {found['seed_spread']:.3f}"
        row |= {
            "first call, ms": f"{1e3 * entry['first_call_seconds']:.0f}",
            "peak memory, MiB": f"{entry['peak_memory_mib']:,.0f}",
            "n": str(entry["rounds"]),
        }
        rows.append(row)
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)


def _quality(entries: Sequence[Entry]) -> str:
    rows = []
    for entry in entries:
        for name, found in entry["quality"].items():
            rows.append(
                {
                    "": entry["row"],
                    "on test": name,
                    "mean": f"{found['mean']:.3f}",
                    "paired difference to soft": (
                        f"{found['difference']:+.3f} ± {found['standard_error']:.3f}"
                    ),
                    "seeds' spread": f"{found['seed_spread']:.3f}",
                    "within it": "yes" if abs(found["difference"]) <= found["seed_spread"] else "**no**",
                    "n": str(found["n"]),
                }
            )
    note = (
        "After ± stands the standard error of the paired difference; the spread is soft's standard deviation"
        " over seeds. Differences and spreads stand again beside the speeds of the same paths."
    )
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True) + "\n\n" + note


def _figure(entries: Sequence[Entry], swept: str) -> Figure:
    """Return milliseconds against what is swept, both logarithmic."""
    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    for row, marker in zip(dict.fromkeys(entry["row"] for entry in entries), "osD^vPX", strict=False):
        own = [entry for entry in entries if entry["row"] == row]
        places = [entry["facts"][swept] for entry in own]
        low, middle, high = (
            np.array([1e3 * entry["seconds"][part] for entry in own]) for part in ("q1", "median", "q3")
        )
        axes.errorbar(places, middle, [middle - low, high - middle], marker=marker, capsize=3, label=row)
    axes.set(xscale="log", yscale="log", xlabel=SWEPT[swept], ylabel="milliseconds a step")
    measured = sorted({entry["facts"][swept] for entry in entries})
    axes.set_xticks(measured, [f"{place:,}" for place in measured])
    axes.set_xticks([], minor=True)
    bottom, top = axes.get_ylim()
    spare = max(1.0, (LEAST_RANGE * bottom / top) ** 0.5)
    axes.set_ylim(bottom / spare, top * spare)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if top > 10 * bottom else (1, 2, 3, 4, 6, 8)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _slopes(entries: Sequence[Entry], swept: str, device: str) -> str:
    """Say how time grows, as a power, and memory, in proportion; and what a large card would hold."""
    lines = []
    for row in dict.fromkeys(entry["row"] for entry in entries):
        own = [entry for entry in entries if entry["row"] == row]
        places = np.array([entry["facts"][swept] for entry in own], float)
        if len(places) < 2:
            continue
        seconds = [entry["seconds"]["median"] for entry in own]
        power = np.polyfit(np.log(places), np.log(seconds), 1)[0]
        line = f"- {row}: time grows as the power {power:.2f} of {SWEPT[swept]}"
        peaks = [entry["peak_memory_mib"] for entry in own]
        slope, rest = np.polyfit(places, peaks, 1)
        grows = (np.diff(np.array(peaks)[places.argsort()]) > 0).all()
        if grows and max(peaks) > min(peaks) + NOISE_MIB:
            most = int((CARD_GIB * 1024 - max(rest, 0)) / slope)
            line += f"; memory by {slope:.3g} MiB each, which would let about {most:,} into {CARD_GIB} GiB"
            line += "" if device == "cuda" else " (extrapolated from this memory, not measured on a card)"
        lines.append(line + ".")
    return "\n".join(lines)


def _spread(found: Mapping[str, float], scale: float = 1) -> str:
    return f"{scale * found['median']:.3g} ({scale * found['q1']:.3g}–{scale * found['q3']:.3g})"


def main() -> int:
    """Write the page, or compare."""
    parser = argparse.ArgumentParser(
        description="Make results/throughput.md, or compare with what is committed."
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--compare", type=Path, metavar="NEW.json")
    options = parser.parse_args()
    if options.compare:
        new = json.loads(options.compare.read_text())
        kept = options.results / f"throughput-{name_of(new)}.json"
        found = regressions(json.loads(kept.read_text()), new)
        print("\n".join(found) or f"no ratio fell below {FALLEN:.0%} of {kept.name}'s")
        return bool(found)
    measured = [json.loads(path.read_text()) for path in sorted(options.results.glob("throughput-*.json"))]
    if not measured:
        print(f"{options.results}: no throughput-*.json; run nox -s bench", file=sys.stderr)
        return 2
    text, figures = page(measured)
    folder = options.results / "throughput"
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
        (folder / name).write_bytes(png(figure))
    (options.results / "throughput.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
