"""`search`: search a space of settings and write the results."""

from __future__ import annotations

import functools
import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from moevae.config.schema import RunConfig
from moevae.data.datasets import load_labels
from moevae.errors import ConfigError, DataError
from moevae.training import snapshot_files
from moevae.utils.io import why_unwritable
from moevae.utils.suggest import closest_name
from studies.cli import options as cli_options
from studies.cli import report
from studies.cli.options import Search as Options
from studies.cli.search_progress import show_progress
from studies.execution import tasks
from studies.execution.config import ExecutionConfig
from studies.execution.executors.factory import worker_pool
from studies.report import manifest
from studies.search import export
from studies.search import search as searches
from studies.search.objectives import ORACLE, describe_objectives
from studies.search.registry import PRUNERS, SAMPLERS
from studies.search.run import Budget, SearchResult, run_search
from studies.search.search import Search
from studies.storage import connection as storage
from studies.utils.formatting import count
from studies.utils.signals import INTERRUPTED, Terminated

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def search(options: Options, *, resume_command: str, ablate_command: str) -> int:
    """Run a search and write its report.

    Args:
        options: the parsed options.
        resume_command: the command that resumes the search.
        ablate_command: the command that runs a profile, without the profile.
    """
    closest_name("sampler", options.sampler, SAMPLERS)
    closest_name("pruner", options.pruner, PRUNERS)
    asked = searches.load_search(
        options.space,
        preset=options.preset,
        profile=options.profile,
        objective=options.objective,
        seeds=options.seeds,
        changes=options.set,
        name=options.name,
    )
    asked = replace(asked, command=shlex.join([*shlex.split(asked.command), *_trial_options(options)]))
    budget = Budget(_positive("--trials", options.trials), _seconds(options.timeout))
    _check_profile(options)
    if options.trial is not None and not 0 <= options.trial < budget.trials:
        raise ConfigError(
            f"--trial {options.trial}: expected 0 to {budget.trials - 1}, with --trials {budget.trials}"
        )
    folder = options.results / asked.name
    if options.dry_run:
        _show(asked, folder, budget, options.json)
        return 0
    place = cli_options.execution_config(options, folder, [asked.base.data])
    console = Console(stderr=True)

    def preflight(configs: Sequence[RunConfig]) -> None:
        console.print(_opening(asked, folder, budget), markup=False, highlight=False, soft_wrap=True)
        manifest.read(folder).check(dict.fromkeys((manifest.PAGE, manifest.TABLE)))
        _check(asked, place, configs)

    try:
        with (
            show_progress(console) as callbacks,
            worker_pool(options.workers, options.dask, options.device) as pool,
        ):
            found = run_search(
                asked,
                folder,
                functools.partial(tasks.train, execution=place),
                budget=budget,
                worker_pool=pool,
                callbacks=callbacks,
                sampler=options.sampler,
                pruner=options.pruner,
                storage_url=storage.given(options.storage),
                preflight=preflight,
                on_worker_lost=functools.partial(tasks.on_worker_lost, execution=place),
                origins=place.origins,
            )
    except (KeyboardInterrupt, Terminated) as stop:
        print(f"stopped: trials that have ended are kept; continue with: {resume_command}", file=sys.stderr)
        if isinstance(stop, KeyboardInterrupt):
            return INTERRUPTED
        raise
    if place.snapshots:
        cells = [asked.cell(trial.params) for trial in found.trials]
        snapshot_files.remove(
            Path(place.snapshots), {cell.name(seed) for cell in cells for seed in asked.seeds}
        )
    page = None
    if found.best:
        with console.status("writing the report"):  # shown on a terminal only
            page = report.write_page(folder)
    chosen = _chosen(found, options.trial)
    if options.write_profile and chosen:
        export.write_profile(options.write_profile, asked, asked.cell(chosen.params), chosen.number)
    _print_summary(asked, folder, found, page, options, ablate_command)
    return 0 if found.best else 1


def _trial_options(options: Options) -> list[str]:
    """Return the options of trials that differ from their defaults."""
    usual = Options()
    names = ("trials", "sampler", "pruner")
    pairs = (
        (name, getattr(options, name)) for name in names if getattr(options, name) != getattr(usual, name)
    )
    return [word for name, value in pairs for word in (f"--{name}", str(value))]


def _check(asked: Search, place: ExecutionConfig, configs: Sequence[RunConfig]) -> None:
    tasks.preflight(configs, execution=place)
    if asked.oracle:
        for config in configs:
            if load_labels(config.data, Path(place.data_root) if place.data_root else None) is None:
                raise DataError(f"{config.data.name}: no labels, which this --objective needs")


def _check_profile(options: Options) -> None:
    if options.trial is not None and options.write_profile is None:
        raise ConfigError(f"--trial {options.trial} selects what --write-profile writes: expected both")
    if options.write_profile is None:
        return
    if options.write_profile.suffix != ".toml":
        raise ConfigError(f"--write-profile {options.write_profile}: expected a name that ends in .toml")
    problem = why_unwritable(options.write_profile.parent)
    if problem:
        raise ConfigError(f"--write-profile {options.write_profile}: {problem}")
    export.check_replaceable(options.write_profile)


def _chosen(found: SearchResult, number: int | None) -> FrozenTrial | None:
    if number is None:
        return found.best[0] if found.best else None
    complete = {trial.number: trial for trial in found.trials if trial.state is TrialState.COMPLETE}
    if number not in complete:
        raise ConfigError(f"--trial {number}: not complete; expected one of {', '.join(map(str, complete))}")
    return complete[number]


def _print_summary(
    asked: Search,
    folder: Path,
    found: SearchResult,
    page: Path | None,
    options: Options,
    ablate_command: str,
) -> None:
    states = Counter(trial.state.name.lower() for trial in found.trials)
    counts = {"complete": states["complete"], "pruned": states["pruned"], "failed": states["fail"]}
    profile = str(options.write_profile) if options.write_profile and found.best else None
    if options.json:
        tree = {
            "study": asked.name,
            "folder": str(folder),
            "rule": asked.rule,
            ORACLE: asked.oracle,
            "trials": counts,
            "trained": found.trained,
            "best": [_leader(asked, trial) for trial in found.best],
            "profile": profile,
            "report": str(page) if page else None,
        }
        print(json.dumps(tree, indent=1))
        return
    ended = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    trained = f"{count(found.trained, 'run')} trained" if found.trained else "nothing to train"
    trials = count(len(found.trials), "trial")
    print(f"{asked.name}: {trials} ({ended}), {trained}. Report: {page or 'none'}")
    if not found.best:
        print("No trial is complete.")
        return
    several = len(asked.objectives) > 1
    print(f"{'The Pareto front' if several else 'Best'} by {asked.rule}, on the validation split:")
    for trial in found.best:
        cell = asked.cell(trial.params)
        print(
            f"  trial {trial.number}: {describe_objectives(asked.objectives, trial.values)}\n    {cell.label}"
        )
    if profile:
        print(f"Run it with other seeds: {ablate_command} --profile {shlex.quote(profile)}")


def _leader(asked: Search, trial: FrozenTrial) -> dict[str, Any]:
    values = {each.name: value for each, value in zip(asked.objectives, trial.values, strict=True)}
    return {"trial": trial.number, "objectives": values, "settings": dict(asked.cell(trial.params).values)}


def _show(asked: Search, folder: Path, budget: Budget, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asked.to_dict([]), indent=1))
        return
    print(_opening(asked, folder, budget))
    for key, kept in asked.space.items():
        print(f"  {key}: {_range(kept)}")
    print("dry run: nothing was written")


def _range(kept: BaseDistribution) -> str:
    match kept:
        case FloatDistribution() | IntDistribution():
            return f"{kept.low:g} to {kept.high:g}{', logarithmic' if kept.log else ''}"
        case CategoricalDistribution():
            return ", ".join(map(str, kept.choices))
    return str(kept)


def _opening(asked: Search, folder: Path, budget: Budget) -> str:
    size = f"{count(budget.trials, 'trial')} x {count(len(asked.seeds), 'seed')}"
    return f"{asked.name}: {asked.title}\n{size} in {folder}"


def _positive(option: str, number: int) -> int:
    if number < 1:
        raise ConfigError(f"{option} {number}: expected at least 1")
    return number


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not parts or not float(parts[1]):
        raise ConfigError(f"--timeout {text}: expected a time such as 90s, 30m or 2h")
    return float(parts[1]) * SECONDS[parts[2]]
