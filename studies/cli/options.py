"""What a person may type after `python -m studies`; a mistake in it is told in one line, with exit code 2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from tyro.conf import Positional, UseAppendAction, arg

from moevae.cli import parser
from moevae.cli.parser import Command
from moevae.config import parsing
from moevae.config.schema import DataConfig
from moevae.errors import ConfigError
from studies.execution.config import ExecutionConfig
from studies.records.origins import Origins, code, own_files

ABLATE = """Run a study: every cell of its profile with every seed, each exactly once.

What to expect:
- A run that has a record is not trained again: the same command
  resumes a study that was stopped, and trains seeds that are missing.
- results/STUDY/report.md tells at the end what came of it.
- --set makes another study, named PROFILE-HASH or by --name, so that
  its records never mix with the profile's.
- A run that fails, whatever it raises, is recorded with the reason, and
  the others go on; --retry-failed trains it again. Ten failures of one
  kind in a row stop the study.
- Ctrl-C ends it and keeps finished runs; a second Ctrl-C does so at once.
- MOEVAE_STORAGE names the storage where --storage does not: a password
  in the environment is not seen in the list of processes.
- --baselines adds rows to the report's tables: kmeans, pca-gmm,
  vae-kmeans, vae-gmm, random-gate, oracle-experts (trained on the
  labels), and with moevae[peers] clustpy-vade and clustpy-dec.
- Exit code: 0 done, 1 every run failed, 2 a mistake in what was asked,
  130 or 143 interrupted.

Examples:
  python -m studies ablate --profile mnist-quick --seeds 5
  python -m studies ablate --set model.num_experts=20 --dry-run
  python -m studies ablate --baselines kmeans,pca-gmm"""

LIST = "List the profiles that can be run, and the studies that were."

REPORT = """Make the report of a study from its records: page, tables, figures.

What to expect:
- Only files that a report wrote are replaced or removed; a file that was
  changed since is kept, and the report refused (--overwrite replaces it).
- A page is not replaced by one of fewer complete runs, unless --fewer-runs
  allows it.
- An index of the studies, README.md beside them, is kept up to date; it is
  written first with --index. Studies that git ignores are not in it.

Examples:
  python -m studies report quick
  python -m studies report --html"""

SEARCH = """Search a space for good settings with Optuna, trial by trial.

What to expect:
- Spaces: gate, training, sizes, all. --set fixes a setting, and takes it
  out of the space. --dry-run shows the ranges.
- Trials are judged on validation images: without labels by default, by
  the mixture ELBO. nmi, ari and acc see labels: such a search is marked
  "oracle" wherever it shows.
- A trial that falls behind is stopped, and leaves no record; --pruner
  none lets all of them end.
- Several objectives, such as mixture_elbo,throughput, give a Pareto
  front; nothing is stopped early then.
- The same command goes on where a search stopped; --trials counts all.
- Exit code: 0 done, 1 no trial is complete, 2 a mistake in what was
  asked, 130 or 143 interrupted.

Examples:
  python -m studies search --trials 40
  python -m studies search --space all --timeout 30m --workers auto
  python -m studies search --write-profile best.toml
  python -m studies ablate --profile best.toml --seeds 20"""

VERIFY = """Check a study's records against digests, fingerprints, plan and storage.

What to expect:
- Nothing is written. Each file that cannot be trusted, and is therefore
  not counted, is named.
- Exit code: 0 all agree, 1 something does not, 2 there is no such study.
- --again trains runs anew. On the machine that made the records, and with
  the same torch, each comes out bit for bit. Another machine rounds
  otherwise, and training makes much of that: there a run has to lie where
  one more seed would, and how far it moved is told.

Examples:
  python -m studies verify quick
  python -m studies verify reference --again 5
  python -m studies verify results/quick --json"""

REBUILD = """Make a study's Optuna storage anew from its records.

What to expect:
- The records are the truth: nothing is lost with a storage that is gone
  or broken, but for trials that a search pruned, which left no record.

Examples:
  python -m studies rebuild-storage quick
  python -m studies rebuild-storage quick --storage journal:///PATH"""

PACK = """Pack a finished study: its records in one file, records.jsonl.

What to expect:
- A packed study reads like any other: report, verify, list and dashboard
  work, and ablate adds runs to it, each a file of its own until the study
  is packed again.
- The pictures that the report shows are kept, in pictures.json. The others
  are dropped: each is named, and pictures.json lists its digest.
- The new files are read back before the old ones are removed. Files that
  no record names stay.

Examples:
  python -m studies pack reference
  python -m studies unpack reference"""

UNPACK = """Unpack a study: each record and each picture in a file of its own.

What to expect:
- The files of the records are the same, byte for byte, as before packing.
- Pictures that were dropped do not come back; pictures.json lists them.

Examples:
  python -m studies unpack reference"""

DASHBOARD = """Open a study in optuna-dashboard, in the browser of this machine.

What to expect:
- The page is at 127.0.0.1 alone: it has no password, and can delete.
- A study whose storage is not there, such as one that was cloned, is
  made anew from its records.
- Ctrl-C ends it.

Examples:
  python -m studies dashboard quick
  python -m studies dashboard quick --port 9000"""

Folder = Annotated[Path, arg(metavar="DIR")]
Flag = Annotated[bool, arg(help_behavior_hint="")]


def _optional(metavar: str, hint: str) -> Any:
    return arg(metavar=metavar, help_behavior_hint=f"(default: {hint})")


Device = Literal["auto", "cpu", "cuda", "mps"]
Settings = Annotated[tuple[str, ...], UseAppendAction, arg(metavar="KEY=VALUE")]
Baselines = Annotated[tuple[str, ...] | None, _optional("[A,B,..]", "none")]
Root = Annotated[Path | None, _optional("DIR", "MOEVAE_DATA, else the user's cache")]
Workers = Annotated[str | None, _optional("N|auto", "train in this process")]
Chunk = Annotated[str, arg(metavar="auto|N")]
Memory = Annotated[str | None, _optional("SIZE", "no limit")]
Dask = Annotated[str | None, _optional("ADDRESS", "this machine")]
Storage = Annotated[str | None, _optional("URL", "MOEVAE_STORAGE, else a SQLite file in the study's folder")]


@dataclass(frozen=True)
class Ablate:
    """What the command `ablate` was given."""

    profile: Annotated[str, arg(metavar="NAME")] = "quick"
    """A profile that comes along (see `list`), or the path of your own TOML file."""
    seeds: Annotated[str | None, _optional("N|A,B,..", "the profile's")] = None
    """How many (5 means 0 to 4), or which (0,3,7)."""
    set: Settings = ()
    """Change a setting, such as train.epochs=5; a KEY that is an axis is narrowed to VALUE."""
    name: Annotated[str | None, _optional("STUDY", "the profile's")] = None
    """Name of the study and of its folder."""
    baselines: Baselines = None
    """Fit other methods to the same data with the same seeds: these, or all that apply."""
    device: Device = "auto"
    """Where to train; auto takes an accelerator if there is one."""
    data_root: Root = None
    """Where the data sets are."""
    results: Folder = Path("results")
    """Where studies are kept, one folder each."""
    workers: Workers = None
    """Train in worker processes of one thread each; auto: one a core, or one a GPU."""
    dask: Dask = None
    """Train on the Dask cluster whose scheduler is there, such as tcp://HOST:8786."""
    population_chunk: Chunk = "auto"
    """Runs of a cell trained side by side: a matter of speed and memory, not of numbers."""
    memory: Memory = None
    """What a look of evaluation may take, such as 2GiB, weights apart: a matter of memory, not of numbers."""
    allow_mixed_code: Flag = False
    """Accept workers whose code or torch differs from the driver's; each record tells its own."""
    storage: Storage = None
    """Optuna's storage, such as journal:///PATH or postgresql+psycopg://HOST/DATABASE."""
    retry_failed: Flag = False
    """Train again the runs that failed."""
    dry_run: Flag = False
    """Print the cells and stop; writes nothing."""
    json: Flag = False
    """Print JSON on standard output, for other programs."""


@dataclass(frozen=True)
class Search:
    """What the command `search` was given."""

    space: Annotated[str, arg(metavar="NAME")] = "gate"
    """Which settings to search: gate, training, sizes, or all."""
    preset: Annotated[str, arg(metavar="NAME")] = "digits"
    """Settings to start from, such as digits or mnist (`python -m moevae info` lists them)."""
    profile: Annotated[str | None, _optional("NAME", "the preset")] = None
    """Start from the baseline of this profile instead."""
    objective: Annotated[str, arg(metavar="A[,B..]")] = "mixture_elbo"
    """Of mixture_elbo, marginal_elbo, gate_information, effective_experts, throughput, nmi, ari, acc."""
    trials: Annotated[int, arg(metavar="N")] = 40
    """Trials in all, those of earlier starts included."""
    timeout: Annotated[str | None, _optional("TIME", "none")] = None
    """Begin no trial after this long, such as 90s, 30m or 2h."""
    seeds: Annotated[str, arg(metavar="N|A,B,..")] = "2"
    """Of every trial: how many (2 means 0 and 1), or which."""
    sampler: Literal["tpe", "gp", "nsga2", "random"] = "tpe"
    """How the next trial is picked."""
    pruner: Literal["median", "halving", "hyperband", "none"] = "median"
    """Which trials are stopped early."""
    set: Settings = ()
    """Change a setting, such as train.epochs=5; a KEY of the space is fixed at VALUE."""
    name: Annotated[str | None, _optional("STUDY", "made of the above")] = None
    """Name of the study and of its folder."""
    write_profile: Annotated[Path | None, _optional("PATH.toml", "none")] = None
    """Write the best trial as a profile for `ablate`; a file that is there is replaced."""
    trial: Annotated[int | None, _optional("NUMBER", "the best")] = None
    """Write this trial instead."""
    device: Device = "auto"
    """Where to train; auto takes an accelerator if there is one."""
    data_root: Root = None
    """Where the data sets are."""
    results: Folder = Path("results")
    """Where studies are kept, one folder each."""
    workers: Workers = None
    """Train in worker processes of one thread each; auto: one a core, or one a GPU."""
    dask: Dask = None
    """Train on the Dask cluster whose scheduler is there, such as tcp://HOST:8786."""
    population_chunk: Chunk = "auto"
    """Runs of a cell trained side by side: a matter of speed and memory, not of numbers."""
    memory: Memory = None
    """What a look of evaluation may take, such as 2GiB, weights apart: a matter of memory, not of numbers."""
    allow_mixed_code: Flag = False
    """Accept workers whose code or torch differs from the driver's; each record tells its own."""
    storage: Storage = None
    """Optuna's storage, such as journal:///PATH or postgresql+psycopg://HOST/DATABASE."""
    dry_run: Flag = False
    """Print the space and stop; writes nothing."""
    json: Flag = False
    """Print JSON on standard output, for other programs."""


@dataclass(frozen=True)
class Dashboard:
    """What the command `dashboard` was given."""

    study: Positional[Annotated[str | None, _optional("[STUDY]", "the only one there is")]] = None
    """Name of a study, or its folder."""
    port: Annotated[int, arg(metavar="N")] = 8080
    """Port of the page; 0 takes a free one."""
    results: Folder = Path("results")
    """Where studies are kept, one folder each."""
    storage: Storage = None
    """Optuna's storage, if the study was run with another."""


@dataclass(frozen=True)
class List:
    """What the command `list` was given."""

    results: Folder = Path("results")
    """Where studies are kept, one folder each."""
    json: Flag = False
    """Print JSON, for other programs."""


@dataclass(frozen=True)
class Report:
    """What the command `report` was given."""

    study: Positional[Annotated[str | None, _optional("[STUDY|DIR]", "all studies")]] = None
    """Name of a study, or its folder."""
    results: Folder = Path("results")
    """Where studies are kept, one folder each."""
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

    study: Positional[Annotated[str, arg(metavar="STUDY|DIR")]]
    """Name of a study, or its folder."""
    results: Folder = Path("results")
    """Where studies are kept, one folder each."""
    storage: Storage = None
    """Optuna's storage, if it is elsewhere."""
    again: Annotated[int, arg(metavar="N")] = 0
    """Train N complete runs again, chosen by lot, and compare them with their records."""
    device: Device = "auto"
    """Where they train; auto takes what the record names."""
    data_root: Root = None
    """Folder of MNIST and Fashion-MNIST."""
    json: Flag = False
    """Print JSON, for other programs."""


@dataclass(frozen=True)
class RebuildStorage:
    """What the command `rebuild-storage` was given."""

    study: Positional[Annotated[str, arg(metavar="STUDY|DIR")]]
    """Name of a study, or its folder."""
    results: Folder = Path("results")
    """Where studies are kept, one folder each."""
    storage: Storage = None
    """Optuna's storage, if it is elsewhere."""


@dataclass(frozen=True)
class Pack:
    """What the command `pack` was given."""

    study: Positional[Annotated[str, arg(metavar="STUDY|DIR")]]
    """Name of a study, or its folder."""
    results: Folder = Path("results")
    """Where studies are kept, one folder each."""


@dataclass(frozen=True)
class Unpack:
    """What the command `unpack` was given."""

    study: Positional[Annotated[str, arg(metavar="STUDY|DIR")]]
    """Name of a study, or its folder."""
    results: Folder = Path("results")
    """Where studies are kept, one folder each."""


COMMANDS = (
    Command("ablate", Ablate, ABLATE),
    Command("search", Search, SEARCH),
    Command("dashboard", Dashboard, DASHBOARD),
    Command("list", List, LIST),
    Command("report", Report, REPORT),
    Command("verify", Verify, VERIFY),
    Command("rebuild-storage", RebuildStorage, REBUILD),
    Command("pack", Pack, PACK),
    Command("unpack", Unpack, UNPACK),
)


Options = Ablate | Search | Dashboard | List | Report | Verify | RebuildStorage | Pack | Unpack


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Return what was typed; `--help` prints and exits, a mistake is told in one line, with exit code 2."""
    typed = parser.parse(
        COMMANDS,
        arguments,
        prog="python -m studies",
        description="Ablation studies of mixtures of VAEs: run them, list them, report on them.",
    )
    return cast(Options, typed)


def of_options(options: Ablate | Search, folder: Path, sets: Iterable[DataConfig]) -> ExecutionConfig:
    """Return where runs of the study in that folder take place, as was typed.

    Populations in training are kept, but not on a cluster's own disks.

    Args:
        options: what was typed.
        folder: the study's own.
        sets: data sets of the study.

    Raises:
        ConfigError: a number of runs side by side, or a size of memory, that is none.
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
