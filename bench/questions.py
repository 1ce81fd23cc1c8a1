"""The questions of the throughput page: one for each group of benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Row = Mapping[str, Any]
"""The `extra_info` of a benchmark."""


@dataclass(frozen=True)
class Question:
    """A question about the rows of a group of benchmarks."""

    words: str
    other: str = "the other"
    """The other contestant of a ratio, such as "the soft step"."""
    about: Literal["speed", "cost", "growth", "best"] = "speed"
    """What the answer is: speeds, times beside the other's, the growth of time with what is swept, or its
    best value."""


QUESTIONS = {
    "training step by batch size": Question("How fast is a training step?"),
    "training step by number of experts": Question(
        "How does a step grow with the number of experts?", about="growth"
    ),
    "training step by width": Question(
        "How does a step grow with the width of the networks?", about="growth"
    ),
    "training step, sparse against soft": Question("How much faster is sparse routing?", "the soft step"),
    "training step, top-1 of 64 experts against 8": Question(
        "What do 64 experts cost if each image trains one?", "the step of 8 experts", "cost"
    ),
    "training step by architecture, against perceptrons": Question(
        "What do other architectures cost?", "perceptrons", "cost"
    ),
    "training step, compiled against eager": Question("Does compilation help?", "the eager step"),
    "training step, TensorFloat-32 against float32": Question("Does TensorFloat-32 help?", "float32"),
    "quality at speed, scikit-learn's digits": Question("What do faster paths cost in quality?", "soft"),
    "training step of deformable experts": Question("How fast are deformable experts?"),
    "consistency terms, against the plain step": Question(
        "What do consistency terms of the gate cost?", "the step without them", "cost"
    ),
    "population of small models": Question(
        "What does it save to train small models together?", "one run alone"
    ),
    "population of MNIST-sized models": Question(
        "What does it save to train MNIST-sized models together?", "one run alone"
    ),
    "training epoch by number of images": Question(
        "How does an epoch grow with the number of images?", about="growth"
    ),
    "evaluation by batch size": Question("How fast is evaluation?"),
    "importance-weighted bound by samples looked at together": Question(
        "How many samples of the IWAE bound should be computed together?", about="best"
    ),
    "one VAE against other packages": Question("How fast are other packages?", "the other package"),
    "products of groups of rows, forward and backward": Question(
        "Are products of slices faster than `grouped_mm`?", "`grouped_mm`"
    ),
    "Bernoulli loss, forward and backward": Question("Is the fused Bernoulli loss faster?", "torch's loss"),
    "cliffs": Question("Are known cliffs of the CPU avoided?", "the other way"),
    "data": Question("How fast are batches made?"),
    "metrics": Question("How fast are the clustering metrics?"),
}
"""Questions by group, in the order of the page; other groups follow, under their own names."""

ENGINE = Question("What else takes time and memory?")
"""The question of benchmarks that have neither a speed in images nor a target."""


def question(group: str) -> Question:
    """Return the question of a group."""
    return QUESTIONS.get(group, Question(f"{group[0].upper()}{group[1:]}"))


def answer(group: str, by_machine: Mapping[str, Sequence[Row]]) -> str:
    """Return the answer in one line: what is compared, and the value of each machine."""
    asked = question(group)
    if any("quality" in row for rows in by_machine.values() for row in rows):
        return f"**{_worse(by_machine)}.**"
    values_by_words: dict[str, list[str]] = {}
    for machine, rows in by_machine.items():
        words, value = _ANSWERS[asked.about](rows, asked.other)
        values_by_words.setdefault(words, []).append(f"{machine} {value}")
    lines = [f"{words}: {'; '.join(values)}" for words, values in values_by_words.items()]
    return f"**{'. '.join(lines)}.**"


def _speed(rows: Sequence[Row], other: str) -> tuple[str, str]:
    """Return the quantity that is compared, and its values: of the first row of a sweep, or of each row."""
    compared = [row for row in rows if "ratio_to_beside" in row]
    if compared and not any(row["facts"] for row in rows):
        return f"Times as fast as {other}", ", ".join(
            f"{row['ratio_to_beside']['median']:.2f} ({row['row']})" for row in compared
        )
    name, own = rows[0]["row"], [row for row in rows if row["row"] == rows[0]["row"]]
    if compared and "runs" in own[0]["facts"]:
        last = max(own, key=lambda row: row["facts"]["runs"])
        words, value = f"Cost of a run, {other} = 1", f"{cost(last):.2f} ({last['facts']['runs']} together)"
    elif "ratio_to_naive" in own[0]:
        words = f"Times as fast as the naive loop ({name})"
        value = _extent(row["ratio_to_naive"]["median"] for row in own)
    elif compared:
        words = f"Times as fast as {other} ({name})"
        value = _extent(row["ratio_to_beside"]["median"] for row in own)
    else:
        words = f"Images a second ({name})"
        value = _extent((row["images_per_second"] for row in own), "{:,.0f}")
    shares = [row["share_of_peak"] for row in own if "share_of_peak" in row]
    return words, f"{value}, up to {percent(max(shares))} of the peak" if shares else value


def _costs(rows: Sequence[Row], other: str) -> tuple[str, str]:
    """Return what is compared, and the time of each row, or the extent of its times in a sweep."""
    by_name: dict[str, list[float]] = {}
    for row in rows:
        by_name.setdefault(row["row"], []).append(1 / row["ratio_to_beside"]["median"])
    return f"Times as long as {other}", ", ".join(
        f"{_extent(times)} ({name})" for name, times in by_name.items()
    )


def _powers(rows: Sequence[Row], _: str) -> tuple[str, str]:
    """Return what is compared, and the growth of each row that is swept."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row["row"], []).append(row)
    found = [f"{growth(own):.2f} ({name})" for name, own in by_name.items() if len(own) > 1]
    return "Time grows with this power, 1 being proportional", ", ".join(found) or "one size alone"


def _best(rows: Sequence[Row], _: str) -> tuple[str, str]:
    """Return what is compared, and the best value of what is swept, with its speed and its memory."""
    first, last = min(rows, key=_swept), max(rows, key=lambda row: row["images_per_second"])
    gain = last["images_per_second"] / first["images_per_second"]
    more = last["peak_memory_mib"] - first["peak_memory_mib"]
    value = f"{_swept(last):,} ({gain:.2f} times as fast as {_swept(first):,}, {more:+.0f} MiB)"
    return "Fastest", value


_ANSWERS = {"speed": _speed, "cost": _costs, "growth": _powers, "best": _best}


def growth(rows: Sequence[Row]) -> float:
    """Return the power of what is swept that the time of its rows grows with."""
    seconds = [row["seconds"]["median"] for row in rows]
    return float(np.polyfit(np.log([_swept(row) for row in rows]), np.log(seconds), 1)[0])


def _swept(row: Row) -> float:
    (value,) = row["facts"].values()
    return value


def _worse(by_machine: Mapping[str, Sequence[Row]]) -> str:
    """Return the paths and metrics that differ from soft beyond the spread of the seeds on some machine."""
    found: dict[str, dict[str, None]] = {}
    for row in (row for rows in by_machine.values() for row in rows):
        for key, of in row["quality"].items():
            if not within(of):
                found.setdefault(row["row"], {})[key] = None
    paths = "; ".join(f"{path} ({', '.join(keys)})" for path, keys in found.items())
    return f"Beyond the spread of the seeds on some machine: {paths or 'none'}"


def percent(share: float) -> str:
    """Return a share in percent."""
    return "<1%" if 0 < share < 0.01 else f"{share:.0%}"


def within(found: Mapping[str, float]) -> bool:
    """Return whether a difference of quality is within the spread of the seeds."""
    return abs(found["difference"]) <= found["seed_spread"]


def cost(row: Row) -> float:
    """Return the cost of a run of a population, in units of a run alone."""
    return 1 / row["ratio_to_beside"]["median"] / row["facts"]["runs"]


def _extent(values: Any, form: str = "{:.2f}") -> str:
    found = list(values)
    low, high = form.format(min(found)), form.format(max(found))
    return low if low == high else f"{low} to {high}"
