"""The options of each command of the studies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast

from tyro.conf import Positional, arg

from moevae.cli import parser
from moevae.cli.options import Device, Flag, Json, Map, Memory, Root, Settings, TrainDevice, optional
from moevae.config import parsing
from moevae.config.schema import DataConfig
from moevae.errors import ConfigError
from studies.cli.commands import STUDIES
from studies.execution.config import ExecutionConfig
from studies.records.origins import Origins, code, user_data_identities
from studies.search.registry import OBJECTIVES, PRUNERS, SAMPLERS, SPACES

# Options shared by several commands.
Results = Annotated[Path, arg(metavar="DIR", help="Folder of all studies, one subfolder each.")]
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
    """Options of training and of the folder of a study."""

    device: TrainDevice = "auto"
    data_root: Root = None
    results: Results = Path("results")
    workers: Annotated[str | None, optional("N|auto", "train in this process")] = None
    """Train in worker processes of one thread each; auto: one per core, or one per GPU."""
    dask: Annotated[str | None, optional("ADDRESS", "this machine")] = None
    """Train on a Dask cluster, given the address of its scheduler, such as tcp://HOST:8786."""
    population_chunk: Annotated[str, arg(metavar="auto|N")] = "auto"
    """Number of runs of a cell that train together; it affects speed and memory, not results in float32."""
    memory: Memory = None
    map: Map = "pca"
    allow_mixed_code: Flag = False
    """Accept workers whose code or torch differs from the driver's; records name the versions."""
    storage: Storage = None
    dry_run: Flag = False
    """Print the runs and stop, without writing anything."""
    json: Json = False


@dataclass(frozen=True)
class StudyChoice:
    """Options that define the study of `ablate`."""

    profile: Annotated[str, arg(metavar="NAME")] = "quick"
    """A built-in profile (see `list`), or the path of a TOML file."""
    seeds: Annotated[str | None, optional("N|A,B,..", "the profile's")] = None
    """Number of seeds (5 means 0 to 4), or a list (0,3,7)."""
    set: Settings = ()
    """Change a setting, such as train.epochs=5; a KEY that is an axis is reduced to VALUE."""
    name: Annotated[str | None, optional("STUDY", "the profile's")] = None
    """Name of the study and of its folder."""
    baselines: Annotated[tuple[str, ...] | None, optional("[A,B,..]", "none")] = None
    """Fit other methods to the same data with the same seeds: the named ones, or all that apply."""
    retry_failed: Flag = False
    """Repeat failed runs."""


@dataclass(frozen=True)
class Ablate(Execution, StudyChoice):  # fields of the last base come first
    """Options of `ablate`."""

    keep_weights: Annotated[Literal["best", "all"] | None, optional("{best,all}", "none")] = None
    """Keep weights in the study's folder `weights`: of each cell the run with the lowest training loss, or of
    all runs. They are checkpoints for evaluate, assign, sample... A run that has a record but no weights is
    trained again, and its weights are kept if all numbers equal the record's."""


@dataclass(frozen=True)
class SearchChoice:
    """Options that define the search of `search`."""

    space: Annotated[str, arg(metavar="NAME", help=_one_of("Settings to search", SPACES))] = "gate"
    preset: Annotated[str, arg(metavar="NAME")] = "digits"
    """Base settings, such as digits or mnist (`moevae info` lists the presets)."""
    profile: Annotated[str | None, optional("NAME", "the preset")] = None
    """Use the reference cell of this profile as base settings."""
    objective: Annotated[str, arg(metavar="A[,B..]", help=_one_of("Objectives", OBJECTIVES))] = "mixture_elbo"
    trials: Annotated[int, arg(metavar="N")] = 40
    """Total number of trials, including those of earlier starts."""
    timeout: Annotated[str | None, optional("TIME", "none")] = None
    """Start no trial after this time, such as 90s, 30m or 2h."""
    seeds: Annotated[str, arg(metavar="N|A,B,..")] = "2"
    """Seeds of each trial: their number (2 means 0 and 1), or a list."""
    sampler: Annotated[str, arg(metavar="NAME", help=_one_of("Sampler of the trials", SAMPLERS))] = "tpe"
    pruner: Annotated[str, arg(metavar="NAME", help=_one_of("Rule that stops trials early", PRUNERS))] = (
        "median"
    )
    set: Settings = ()
    """Change a setting, such as train.epochs=5; a KEY of the space is fixed to VALUE."""
    name: Annotated[str | None, optional("STUDY", "made of the above")] = None
    """Name of the study and of its folder."""
    write_profile: Annotated[Path | None, optional("PATH.toml", "none")] = None
    """Write the best trial as a profile for `ablate`; only an unchanged profile of a search is replaced."""
    trial: Annotated[int | None, optional("NUMBER", "the best")] = None
    """Write this trial instead of the best one."""


@dataclass(frozen=True)
class Search(Execution, SearchChoice):
    """Options of `search`."""


@dataclass(frozen=True)
class Dashboard:
    """Options of `dashboard`."""

    study: Positional[Annotated[str | None, optional("[STUDY]", "the only study")]] = None
    """Name of a study, or its folder."""
    port: Annotated[int, arg(metavar="N")] = 8080
    """Port of the page; 0 selects a free one."""
    results: Results = Path("results")
    storage: Storage = None


@dataclass(frozen=True)
class List:
    """Options of `list`."""

    results: Results = Path("results")
    json: Json = False


@dataclass(frozen=True)
class Report:
    """Options of `report`."""

    study: Positional[Annotated[str | None, optional("[STUDY|DIR]", "all studies")]] = None
    """Name of a study, or its folder."""
    results: Results = Path("results")
    html: Flag = False
    """Also write the page as one self-contained HTML file."""
    formats: Annotated[str, optional("svg,pdf", "PNG only")] = ""
    """Write each figure in these formats, too: svg, pdf."""
    latex: Flag = False
    """Write the tables in LaTeX, too, as tables/NAME.tex."""
    compare: Annotated[tuple[str, ...] | None, optional("A B", "none")] = None
    """Print these studies side by side instead: shared metrics, differences, and settings that differ."""
    index: Flag = False
    """Create the index of the studies, README.md in their folder; an existing one is always updated."""
    overwrite: Flag = False
    """Write the page even if nothing changed; replace modified files, and files that no report wrote."""
    fewer_runs: Flag = False
    """Replace a page by one with fewer complete runs."""


@dataclass(frozen=True)
class Leaderboard:
    """Options of `leaderboard`."""

    results: Results = Path("results")
    json: Json = False


@dataclass(frozen=True)
class Verify:
    """Options of `verify`."""

    study: Study
    results: Results = Path("results")
    storage: Storage = None
    rerun: Annotated[int, arg(metavar="N")] = 0
    """Repeat N randomly chosen complete runs, and compare them with their records."""
    device: Device = "auto"
    """Device of the repeated runs; auto uses the device of the record."""
    data_root: Root = None
    json: Json = False


@dataclass(frozen=True)
class Consensus:
    """Options of `consensus`."""

    study: Study
    results: Results = Path("results")
    runs: Annotated[int, arg(metavar="N")] = 15
    """Number of runs of a group."""
    data_root: Root = None
    json: Json = False


@dataclass(frozen=True)
class RebuildStorage:
    """Options of `rebuild-storage`."""

    study: Study
    results: Results = Path("results")
    storage: Storage = None


@dataclass(frozen=True)
class Pack:
    """Options of `pack`."""

    study: Study
    results: Results = Path("results")


@dataclass(frozen=True)
class Unpack:
    """Options of `unpack`."""

    study: Study
    results: Results = Path("results")


@dataclass(frozen=True)
class Migrate:
    """Options of `migrate`."""

    study: Study
    results: Results = Path("results")


Options = (
    Ablate
    | Search
    | Dashboard
    | List
    | Report
    | Leaderboard
    | Verify
    | Consensus
    | RebuildStorage
    | Pack
    | Unpack
    | Migrate
)


def parse(arguments: Sequence[str] | None = None, prog: str = "python -m studies") -> Options:
    """Return the options of a command of studies.

    Args:
        arguments: command line without the program; by default that of the process.
        prog: name of the program.

    Raises:
        SystemExit: `--help` was printed, or, with exit code 2, an error in one line.
    """
    return cast(Options, parser.parse(STUDIES.commands, arguments, prog=prog))


def execution_config(options: Execution, folder: Path, sets: Iterable[DataConfig]) -> ExecutionConfig:
    """Return the execution settings of a study.

    Snapshots of training are written, but not on the disks of a cluster.

    Args:
        options: the parsed options.
        folder: the folder of the study.
        sets: the data sets of the study.

    Raises:
        ConfigError: --population-chunk or --memory is not a valid number or size.
        DataError: a file of the user exists and is invalid.
    """
    return ExecutionConfig(
        device=options.device,
        data_root=str(options.data_root.resolve()) if options.data_root else None,
        threads=1,  # as in workers, so that results do not depend on where a run trains
        population_chunk=_population_chunk(options.population_chunk),
        memory=parsing.parse_memory(options.memory),
        map=options.map,
        snapshots=None if options.dask else str((folder / "checkpoints").resolve()),
        origins=Origins(code(), options.allow_mixed_code, user_data_identities(sets)),
    )


def _population_chunk(typed: str) -> int | None:
    if typed == "auto":
        return None
    if typed.isdecimal() and int(typed) > 0:
        return int(typed)
    raise ConfigError(f"--population-chunk {typed!r}: expected a positive number or auto")
