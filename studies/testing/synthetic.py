"""Synthetic studies for tests: valid records of runs that were not trained, with plausible metrics."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from moevae.config import overrides
from moevae.config.presets import digits
from moevae.config.schema import RunConfig
from studies.records import schema, store

GRID: dict[str, list[Any]] = {
    "objective.balance_weight": [0.0, 1.0, 5.0, 20.0],
    "routing.temperature": [0.5, 1.0, 2.0],
    "routing.kind": ["soft", "hard"],
}

VERSIONS = {"moevae": "0.1.0", "numpy": "2.4.6", "python": "3.11.7", "torch": "2.15.0"}


SCORES = ("acc", "nmi", "ari", "ece", "brier")


def plan(
    axes: Mapping[str, Sequence[Any]] = GRID,
    seeds: Sequence[int] = (0, 1, 2),
    cells: Sequence[Mapping[str, Any]] | None = None,
    base: RunConfig | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return the content of `study.json`, with the full grid of the axes unless `cells` are given."""
    grid = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return {
        "schema": 2,
        "name": "made-up",
        "title": "Balancing, temperature and routing on digits",
        "description": "What each choice does to clusters and bounds.",
        "base": overrides.to_dict(base or digits()),
        "axes": {key: list(values) for key, values in axes.items()},
        "baseline": {key: values[-1] for key, values in axes.items() if values},
        "cells": list(cells) if cells is not None else grid,
        "seeds": list(seeds),
        "command": "nox -s ablations -- --profile made-up",
        **changes,
    }


def numbers(config: RunConfig, noise: np.random.Generator) -> dict[str, float]:
    """Return metrics of one run.

    Balancing raises NMI, temperatures other than 1 lower the ELBO, and hard routing has more variance.
    """
    strength, temperature = config.objective.balance_weight, config.routing.temperature
    hard = config.routing.kind == "hard"
    used = 1 + 8.5 * strength / (strength + 1.5)
    nmi = 0.07 * used - 0.06 * math.log(temperature) ** 2 - 0.03 * hard + noise.normal(0, 0.03 + 0.02 * hard)
    nmi = float(np.clip(nmi, 0.0, 0.99))
    bound = (
        -19.5 - 0.4 * math.log2(temperature) ** 2 - 0.05 * strength / 5 - 0.3 * hard + noise.normal(0, 0.15)
    )
    dead = max(0.0, round(10 - used - 0.4 + noise.normal(0, 0.4)))
    tight, kl_z = bound + 0.2 + abs(noise.normal(0, 0.02)), 5.0 + noise.normal(0, 0.1)
    information = max(0.0, 1.8 * used / 10 + noise.normal(0, 0.05))
    apart = 0.3 / (1 + strength)
    return {
        "mixture_elbo": bound,
        "marginal_elbo": tight,
        "gate_gap": tight - bound,
        "marginal_samples": 32.0,
        "map_elbo": bound - 0.5,
        "recon_log_prob": bound + kl_z + information + apart,
        "kl_z": kl_z,
        "kl_gate": information + apart,
        "mutual_information": information,
        "marginal_kl": apart,
        "effective_experts": used + noise.normal(0, 0.1),
        "dead_experts": dead,
        "acc": float(np.clip(nmi + 0.04, 0.1, 1)),
        "nmi": nmi,
        "ari": float(np.clip(nmi - 0.1, 0, 1)),
        "ece": float(np.clip(0.5 - nmi / 2, 0, 1)),
        "brier": float(np.clip(1.2 - nmi, 0, 2)),
    }


def record(
    config: RunConfig,
    *,
    pictures: bool = True,
    labels: bool = True,
    metrics: Mapping[str, float] | None = None,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a complete record as JSON data, and the content of its PNG files by name."""
    name = overrides.fingerprint(config)
    noise = np.random.default_rng(int(name, 16))
    test = dict(numbers(config, noise) if metrics is None else metrics)
    experts = config.model.num_experts
    used = np.arange(experts) < max(1, round(test.get("effective_experts", experts)))
    load = noise.dirichlet(np.where(used, 5.0, 1e-3))
    if not labels:
        test = {key: value for key, value in test.items() if key not in SCORES}
    validation = {key: value + noise.normal(0, 0.01) for key, value in test.items()}
    confusion = _confusion(experts, test["nmi"], noise) if labels else None
    epochs = config.train.epochs
    at = range(1, epochs + 1)
    curve = {
        "epoch": [*at],
        "loss": [-test["mixture_elbo"] + 30 / epoch for epoch in at],
        "temperature": [config.routing.temperature] * epochs,
        "metrics": {
            key: [
                value - (25 / epoch - 25 / epochs) if "elbo" in key else value * (1 - math.exp(-epoch / 5))
                for epoch in at
            ]
            for key, value in validation.items()
        },
        "confusion": [_text(np.array(confusion["counts"]), epoch) for epoch in at] if confusion else [],
    }
    grid = samples(experts, noise)
    picture = {
        "file": f"{name}-samples.png",
        "sha256": hashlib.sha256(grid).hexdigest(),
        "rows": ["1", "7", "20", "60"],
        "columns": [str(expert) for expert in range(experts)],
        "tile": [8, 8],
    }
    return {
        "schema_version": schema.SCHEMA,
        "fingerprint": name,
        "config": overrides.to_dict(config),
        "status": "complete",
        "failure": None,
        "metrics": {"validation": validation, "test": test},
        "load": load.tolist(),
        "importance": load.tolist(),
        "elbo_terms": {key: (load * test[key]).tolist() for key in ("recon_log_prob", "kl_z") if key in test},
        "confusion": confusion,
        "reliability": _reliability(noise) if labels else None,
        "curve": curve,
        "pictures": {"samples": picture} if pictures else {},
        "throughput": {
            "train_images_per_second": 41000.0 + noise.normal(0, 500),
            "evaluation_images_per_second": 150000.0,
            "population": 3,
        },
        "seconds": {"train": 6.1, "evaluation": 0.2},
        "hardware": {
            "device": "cpu",
            "device_name": "AMD EPYC 7B13",
            "precision": "float32",
            "threads": 1,
            "cores": 2,
            "memory_gib": 15.6,
        },
        "versions": VERSIONS,
        "commit": "3f786850e387550fdab836ed7e6dc881de23001b",
        "dirty": False,
        "data": {
            "name": config.data.name,
            "sha256": "ab" * 32,
            "train": 1293,
            "validation": 144,
            "test": 360,
        },
        "started": "2026-01-02T03:04:05+00:00",
    }, {f"{name}-samples.png": grid} if pictures else {}


def baseline(
    config: RunConfig, name: str, *, oracle: bool = False
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a complete record of a baseline, which has clustering metrics and no bounds."""
    method = schema.Method(name=name, oracle=oracle)
    tree, _ = record(config, pictures=False)
    level = 0.9 if oracle else 0.4
    scores = dict.fromkeys(("acc", "nmi", "ari"), level + 0.01 * config.seed)
    return {
        **tree,
        "fingerprint": schema.name_of(config, method),
        "method": method.model_dump(),
        "metrics": {"test": scores},
        "curve": {},
    }, {}


def failed(config: RunConfig, reason: str = "the loss became NaN") -> dict[str, Any]:
    """Return a record of a failed run."""
    tree, _ = record(config, pictures=False)
    return {
        **tree,
        "status": "failed",
        "failure": {"reason": reason, "epoch": 3, "step": 31},
        "metrics": {},
        "load": [],
        "importance": [],
        "confusion": None,
        "reliability": None,
        "curve": {},
    }


def write(
    folder: Path,
    tree: Mapping[str, Any],
    make: Callable[[RunConfig], tuple[dict[str, Any], dict[str, bytes]] | None] = record,
) -> Path:
    """Write the folder of a study.

    Args:
        folder: the folder to write.
        tree: content of `study.json`.
        make: returns record and files of a configuration; None for a missing run.

    Returns:
        The folder.
    """
    (folder / "records").mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(tree))
    base = overrides.from_dict(tree["base"])
    for cell in tree["cells"]:
        for seed in tree["seeds"]:
            made = make(overrides.override(base, {**cell, "seed": seed}))
            if made is not None:
                put(folder, *made)
    return folder


def put(folder: Path, tree: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
    """Write one record and its pictures; return the path of the record."""
    path = folder / "records" / f"{tree['fingerprint']}.json"
    path.write_bytes(store.with_digest(tree))
    for name, content in files.items():
        (folder / "records" / name).write_bytes(content)
    return path


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a record without validation and update its digest."""
    tree = json.loads(path.read_bytes())
    del tree["digest"]
    edit(tree)
    content = json.dumps(tree, indent=1)
    digest = hashlib.sha256(f"{content}\n".encode()).hexdigest()
    path.write_text(content.replace("{", f'{{\n "digest": "{digest}",', 1) + "\n")


def samples(experts: int, noise: np.random.Generator, rows: int = 4, side: int = 8) -> bytes:
    """Return a PNG grid of blobs, one column per expert, with less noise in later rows."""
    y, x = np.mgrid[0:side, 0:side] / side
    canvas = np.zeros((rows * side, experts * side))
    for k, row in itertools.product(range(experts), range(rows)):
        angle = 2 * math.pi * k / experts
        distance = (x - 0.5 - 0.2 * math.cos(angle)) ** 2 + (y - 0.5 - 0.2 * math.sin(angle)) ** 2
        tile = np.exp(-distance * (10 + 15 * row)) + noise.normal(0, 0.1 / (row + 1), (side, side))
        canvas[row * side : (row + 1) * side, k * side : (k + 1) * side] = tile
    buffer = io.BytesIO()
    Image.fromarray((255 * canvas.clip(0, 1)).astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def _text(counts: np.ndarray, epoch: int) -> str:
    """Return counts at an epoch as text; experts start equal and then specialize."""
    mixed = counts.mean(0) / epoch + counts * (1 - 1 / epoch)
    return ";".join(" ".join(map(str, row)) for row in mixed.astype(int).tolist())


def _reliability(noise: np.random.Generator) -> dict[str, Any]:
    confidence = (np.arange(15) + 0.5) / 15
    accuracy = np.clip(confidence**1.5 + noise.normal(0, 0.02, 15), 0, 1)
    return {
        "images": np.arange(15).tolist(),
        "confidence": confidence.tolist(),
        "accuracy": accuracy.tolist(),
    }


def _confusion(experts: int, purity: float, noise: np.random.Generator) -> dict[str, Any]:
    chances = (1 - purity) / 10 + purity * np.eye(10)[noise.permutation(max(experts, 10))[:experts] % 10]
    counts = [noise.multinomial(36, row / row.sum()).tolist() for row in chances]
    return {"classes": [str(label) for label in range(10)], "counts": counts}
