"""The definition of a search: base configuration, space, objectives, and seeds of each trial."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.distributions import distribution_to_json, json_to_distribution

from moevae.config import overrides
from moevae.config.parsing import apply_settings, parse_seeds, parse_settings
from moevae.config.presets import preset as preset_of
from moevae.config.schema import RunConfig
from moevae.errors import ConfigError, RecordError
from moevae.utils import content
from studies.design import design as designs
from studies.design.cells import Cell, describe_settings, plain
from studies.records import store, study_file
from studies.records.schema import Record
from studies.search import objectives, spaces
from studies.search.objectives import ORACLE, SearchObjective
from studies.search.spaces import Space


@dataclass(frozen=True)
class Search:
    """The definition of a search. The sampler and the pruner may differ from start to start."""

    name: str
    title: str
    base: RunConfig
    space: Space
    objectives: tuple[SearchObjective, ...]
    seeds: tuple[int, ...]
    """The seeds of each trial."""
    command: str

    @property
    def oracle(self) -> bool:
        """Whether an objective uses labels."""
        return any(objective.oracle for objective in self.objectives)

    @property
    def rule(self) -> str:
        """The selection rule, as text."""
        return " and ".join(objective.rule for objective in self.objectives)

    @property
    def start(self) -> dict[str, Any] | None:
        """The base configuration as parameters of the first trial; None if it is outside the space."""
        return spaces.params(self.base, self.space)

    def cell(self, params: Mapping[str, Any]) -> Cell:
        """Return the cell of the parameters of a trial.

        Args:
            params: parameters by name.
        """
        values = spaces.settings({key: params[key] for key in self.space})
        return self.cell_of(overrides.override(self.base, values))

    def cell_of(self, config: RunConfig) -> Cell:
        """Return the cell with the values of a configuration in the searched settings."""
        values = {key: plain(overrides.lookup(config, key)) for key in self.space}
        return Cell(values, overrides.override(self.base, values))

    def to_dict(self, cells: Sequence[Cell]) -> dict[str, Any]:
        """Return the content of `study.json`.

        Args:
            cells: the cells that have records.
        """
        first = self.cell(self.start) if self.start else None
        axes = {
            key: list({repr(cell.values[key]): cell.values[key] for cell in cells}.values())
            for key in self.space
        }
        return study_file.described(
            name=self.name,
            title=self.title,
            description=self._description(),
            base=self.base,
            axes=axes,
            baseline=first.values if first else None,
            cells=(cell.values for cell in cells),
            seeds=self.seeds,
            command=self.command,
            search={
                "space": {key: distribution_to_json(kept) for key, kept in self.space.items()},
                "objectives": [objective.name for objective in self.objectives],
                "rule": self.rule,
                ORACLE: self.oracle,
            },
        )

    def _description(self) -> str:
        sentences = [f"Each cell is a trial of a search that chooses by {self.rule} on the validation split."]
        if self.oracle:
            sentences.append(
                f"This is an {ORACLE} choice: it uses labels, which are not available in clustering."
            )
        if len(self.objectives) == 1 and self.objectives[0].by_epoch:
            sentences.append("Pruned trials have no records and are not shown.")
        sentences.append(
            "The result of the best trial is optimistic: repeat it with other seeds to confirm it."
        )
        return " ".join(sentences)


def load_search(
    space: str,
    *,
    preset: str = "digits",
    profile: str | None = None,
    objective: str = "mixture_elbo",
    seeds: str = "2",
    changes: Sequence[str] = (),
    name: str | None = None,
) -> Search:
    """Return the search that the options define.

    Args:
        space: a name from `spaces`.
        preset: the base configuration; ignored if a profile is given.
        profile: a profile whose reference cell is the base configuration; its axes are ignored.
        objective: names from `objectives`, separated by commas.
        seeds: seeds of each trial, in the format of `--seeds`.
        changes: settings such as "train.epochs=5"; a setting of the space is fixed to its value.
        name: name of the study; None derives one from the other arguments. The name of a search that uses
            labels ends with "-oracle".

    Raises:
        ConfigError: an option is invalid; the message names it.
    """
    chosen, wanted = spaces.space(space), objectives.parse(objective)
    fixed = parse_settings(changes)
    if profile is None:
        origin, base = preset, preset_of(preset)
    else:
        design = designs.load_design(profile)
        origin, base = design.name, overrides.override(design.base, design.reference)
    base = apply_settings(base, fixed)
    if base.data.validation_size == 0:
        raise ConfigError("data.validation_size = 0: a search needs validation images to compare trials")
    left = spaces.without(chosen, fixed)
    oracle = any(each.oracle for each in wanted)
    given = name or _name(space, origin, wanted, fixed)
    given += f"-{ORACLE}" if oracle and not given.endswith(f"-{ORACLE}") else ""
    usual = {
        "--preset": "digits",
        "--profile": None,
        "--objective": "mixture_elbo",
        "--seeds": "2",
        "--name": None,
    }
    typed = {
        "--preset": preset,
        "--profile": profile,
        "--objective": objective,
        "--seeds": seeds,
        "--name": name,
    }
    words = ["--space", space]
    for option, value in typed.items():
        words += [option, value] if value is not None and value != usual[option] else []
    for text in changes:
        words += ["--set", text]
    mark = f"{ORACLE}: labels decide; " if oracle else ""
    notes = f"{mark}around {origin}" + (f" with {describe_settings(fixed)}" if fixed else "")
    return Search(
        name=designs.checked_name(given),
        title=f"Search of {space} by {' and '.join(each.rule for each in wanted)} ({notes})",
        base=base,
        space=left,
        objectives=wanted,
        seeds=parse_seeds(seeds),
        command=f"nox -s search -- {shlex.join(words)}",
    )


def read(folder: Path) -> Search:
    """Return the search in the folder of a study.

    Args:
        folder: the folder.

    Raises:
        RecordError: the folder has no study, the study is not a search, or its `study.json` is invalid.
    """
    plan, where = study_file.read(folder), folder / study_file.NAME
    if plan.search is None:
        raise RecordError(f"{where}: expected a search, found an ablation")
    try:
        with content.parsing(f"{where}: not a description of a search", RecordError, but=ConfigError):
            space = {key: json_to_distribution(text) for key, text in plan.search.space.items()}
            wanted = objectives.parse(",".join(plan.search.objectives))
    except ConfigError as error:
        raise RecordError(f"{where}: not a description of a search ({error})") from None
    if plan.axes.keys() != space.keys():
        raise RecordError(f"{where}: not a description of a search (its axes are not its space)")
    return Search(
        name=plan.name,
        title=plan.title,
        base=plan.config,
        space=space,
        objectives=wanted,
        seeds=tuple(plan.seeds),
        command=plan.command,
    )


def plan_of_search(search: Search, folder: Path) -> tuple[dict[str, Cell], dict[str, dict[str, Record]]]:
    """Return the cells of a search that have records, in the order of their trials, and the records.

    Args:
        search: the search.
        folder: the folder of its records.

    Returns:
        The cells by key, and the records by the key of the cell and by fingerprint.

    Raises:
        RecordError: the folder holds runs of another search.
    """
    good, _ = store.read_all(folder)
    found: dict[str, dict[str, Record]] = {}
    cells: dict[str, Cell] = {}
    for record in good:
        config = replace(record.run_config, seed=0)
        cell = search.cell_of(config)
        if cell.config != config:
            raise RecordError(
                f"{folder}: record {record.fingerprint} belongs to another search: choose another --name"
            )
        cells[cell.key] = cell
        found.setdefault(cell.key, {})[record.fingerprint] = record
    listed: list[str] = []
    if (folder / "study.json").exists():
        settings = (overrides.override(search.base, values) for values in study_file.read(folder).cells)
        listed = [key for key in map(overrides.fingerprint, settings) if key in cells]
    ended = [key for key in cells if len(found[key]) == len(search.seeds)]
    ended.sort(key=lambda key: max(record.started for record in found[key].values()))
    return {key: cells[key] for key in (*listed, *ended)}, found


def check_same(search: Search, folder: Path) -> None:
    """Check that a folder has no study or holds this search.

    Args:
        search: the search.
        folder: the folder, which may not exist.

    Raises:
        RecordError: the folder holds another search; the message names the difference.
    """
    if not (folder / "study.json").exists():
        return
    there = read(folder)
    pairs = {
        "space": ({**there.space}, {**search.space}),
        "objective": ([each.name for each in there.objectives], [each.name for each in search.objectives]),
        "seeds": (there.seeds, search.seeds),
    }
    here, before = (overrides.to_dict(one.base) for one in (search, there))
    parts = (part for part in here if here[part] != before[part])
    different = next((word for word, (one, other) in pairs.items() if one != other), None) or next(
        parts, None
    )
    if different:
        raise RecordError(
            f"{folder}: holds another search (it differs in {different}): choose another --name"
        )


def _name(space: str, origin: str, wanted: Sequence[SearchObjective], fixed: Mapping[str, Any]) -> str:
    named = [] if [each.name for each in wanted] == ["mixture_elbo"] else [each.name for each in wanted]
    digest = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:6] if fixed else ""
    return "-".join(part for part in ("search", space, origin, *named, digest) if part)
