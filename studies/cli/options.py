"""The options of each command of the studies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from tyro.conf import Positional, arg

from moevae.cli import parser
from moevae.cli.options import Device, Flag, Json, Memory, Root, Settings, TrainDevice, optional
from moevae.config import parsing
from moevae.config.schema import DataConfig
from moevae.errors import ConfigError
from studies.cli.commands import STUDIES
from studies.execution.config import ExecutionConfig
from studies.records.origins import Origins, code, own_files
from studies.search.registry import PRUNERS, SAMPLERS, SPACES

# What several commands take is stated here once, with its help.
Results = Annotated[Path, arg(metavar="DIR", help="Where studies are kept, one folder each.")]
Study = Positional[Annotated[str, arg(metavar="STUDY|DIR", help="Name of a study, or its folder.")]]
Storage = Annotated[
    str | None,
    optional(
        "URL",
        "MOEVAE_STORAGE, else a SQLite file in the study's folder",
        "Optuna's storage, such as journal:///PATH or postgresql+psycopg://HOST/DATABASE.",
    ),
]


def _one_of(what: str, names: Iterable[str]) -> str:
    return f"{what}: one of {', '.join(names)}."


@dataclass(frozen=True)
class Execution:
    """Where and how runs are trained, and where their study is kept."""

    device: TrainDevice = "auto"
    data_root: Root = None
    results: Results = Path("results")
    workers: Annotated[str | None, optional("N|auto", "train in this process")] = None
    """Train in worker processes of one thread each; auto: one a core, or one a GPU."""
    dask: Annotated[str | None, optional("ADDRESS", "this machine")] = None
    """Train on the Dask cluster whose scheduler is there, such as tcp://HOST:8786."""
    population_chunk: Annotated[str, arg(metavar="auto|N")] = "auto"
    """Runs of a cell trained side by side: a matter of speed and memory, not of numbers."""
    memory: Memory = None
    allow_mixed_code: Flag = False
    """Accept workers whose code or torch differs from the driver's; each record tells its own."""
    storage: Storage = None
    dry_run: Flag = False
    """Print what would be run and stop; writes nothing."""
    json: Json = False


@dataclass(frozen=True)
class StudyChoice:
    """Which study `ablate` runs."""

    profile: Annotated[str, arg(metavar="NAME")] = "quick"
    """A profile that comes along (see `list`), or the path of your own TOML file."""
    seeds: Annotated[str | None, optional("N|A,B,..", "the profile's")] = None
    """How many (5 means 0 to 4), or which (0,3,7)."""
    set: Settings = ()
    """Change a setting, such as train.epochs=5; a KEY that is an axis is narrowed to VALUE."""
    name: Annotated[str | None, optional("STUDY", "the profile's")] = None
    """Name of the study and of its folder."""
    baselines: Annotated[tuple[str, ...] | None, optional("[A,B,..]", "none")] = None
    """Fit other methods to the same data with the same seeds: these, or all that apply."""
    retry_failed: Flag = False
    """Train again the runs that failed."""


@dataclass(frozen=True)
class Ablate(Execution, StudyChoice):  # fields of the last base come first
    """What the command `ablate` was given."""


@dataclass(frozen=True)
class SearchChoice:
    """Which space `search` searches, and how."""

    space: Annotated[str, arg(metavar="NAME", help=_one_of("Which settings to search", SPACES))] = "gate"
    preset: Annotated[str, arg(metavar="NAME")] = "digits"
    """Settings to start from, such as digits or mnist (`moevae info` lists them)."""
    profile: Annotated[str | None, optional("NAME", "the preset")] = None
    """Start from the baseline of this profile instead."""
    objective: Annotated[str, arg(metavar="A[,B..]")] = "mixture_elbo"
    """Of mixture_elbo, marginal_elbo, mutual_information, effective_experts, throughput, nmi, ari, acc."""
    trials: Annotated[int, arg(metavar="N")] = 40
    """Trials in all, those of earlier starts included."""
    timeout: Annotated[str | None, optional("TIME", "none")] = None
    """Begin no trial after this long, such as 90s, 30m or 2h."""
    seeds: Annotated[str, arg(metavar="N|A,B,..")] = "2"
    """Of every trial: how many (2 means 0 and 1), or which."""
    sampler: Annotated[str, arg(metavar="NAME", help=_one_of("How the next trial is picked", SAMPLERS))] = (
        "tpe"
    )
    pruner: Annotated[str, arg(metavar="NAME", help=_one_of("Which trials are stopped early", PRUNERS))] = (
        "median"
    )
    set: Settings = ()
    """Change a setting, such as train.epochs=5; a KEY of the space is fixed at VALUE."""
    name: Annotated[str | None, optional("STUDY", "made of the above")] = None
    """Name of the study and of its folder."""
    write_profile: Annotated[Path | None, optional("PATH.toml", "none")] = None
    """Write the best trial as a profile for `ablate`; a file that is there is replaced."""
    trial: Annotated[int | None, optional("NUMBER", "the best")] = None
    """Write this trial instead."""


@dataclass(frozen=True)
class Search(Execution, SearchChoice):
    """What the command `search` was given."""


@dataclass(frozen=True)
class Dashboard:
    """What the command `dashboard` was given."""

    study: Positional[Annotated[str | None, optional("[STUDY]", "the only one there is")]] = None
    """Name of a study, or its folder."""
    port: Annotated[int, arg(metavar="N")] = 8080
    """Port of the page; 0 takes a free one."""
    results: Results = Path("results")
    storage: Storage = None


@dataclass(frozen=True)
class List:
    """What the command `list` was given."""

    results: Results = Path("results")
    json: Json = False


@dataclass(frozen=True)
class Report:
    """What the command `report` was given."""

    study: Positional[Annotated[str | None, optional("[STUDY|DIR]", "all studies")]] = None
    """Name of a study, or its folder."""
    results: Results = Path("results")
    html: Flag = False
    """Also write the page as one self-contained HTML file."""
    index: Flag = False
    """Write an index of the studies, README.md in their folder, where there is none yet."""
    overwrite: Flag = False
    """Replace files of a report that were changed, and files that no report wrote."""
    fewer_runs: Flag = False
    """Replace a page by one of fewer complete runs."""


@dataclass(frozen=True)
class Verify:
    """What the command `verify` was given."""

    study: Study
    results: Results = Path("results")
    storage: Storage = None
    rerun: Annotated[int, arg(metavar="N")] = 0
    """Train N complete runs again, chosen by lot, and compare them with their records."""
    device: Device = "auto"
    """Where they train; auto takes what the record names."""
    data_root: Root = None
    json: Json = False


@dataclass(frozen=True)
class RebuildStorage:
    """What the command `rebuild-storage` was given."""

    study: Study
    results: Results = Path("results")
    storage: Storage = None


@dataclass(frozen=True)
class Pack:
    """What the command `pack` was given."""

    study: Study
    results: Results = Path("results")


@dataclass(frozen=True)
class Unpack:
    """What the command `unpack` was given."""

    study: Study
    results: Results = Path("results")


@dataclass(frozen=True)
class Migrate:
    """What the command `migrate` was given."""

    study: Study
    results: Results = Path("results")


Options = Ablate | Search | Dashboard | List | Report | Verify | RebuildStorage | Pack | Unpack | Migrate


def parse(arguments: Sequence[str] | None = None, prog: str = "python -m studies") -> Options:
    """Return what was typed; `--help` prints and exits, a mistake is one line, with exit code 2."""
    return cast(Options, parser.parse(STUDIES.commands, arguments, prog=prog))


def of_options(options: Execution, folder: Path, sets: Iterable[DataConfig]) -> ExecutionConfig:
    """Return where runs of the study in that folder take place, as was typed.

    Populations in training are kept, but not on a cluster's own disks.

    Args:
        options: what was typed.
        folder: the study's own.
        sets: data sets of the study.

    Raises:
        ConfigError: --population-chunk or --memory is not a valid number or size.
        DataError: a file of a person's own that is there and broken.
    """
    return ExecutionConfig(
        device=options.device,
        data_root=str(options.data_root.resolve()) if options.data_root else None,
        threads=1,  # as in workers, so that it matters to no bit who trains a run
        population_chunk=_population_chunk(options.population_chunk),
        memory=parsing.parse_memory(options.memory),
        snapshots=None if options.dask else str((folder / "checkpoints").resolve()),
        origins=Origins(code(), options.allow_mixed_code, own_files(data.name for data in sets)),
    )


def _population_chunk(typed: str) -> int | None:
    if typed == "auto":
        return None
    if typed.isdecimal() and int(typed) > 0:
        return int(typed)
    raise ConfigError(f"--population-chunk {typed!r}: give a number from 1, or auto")
