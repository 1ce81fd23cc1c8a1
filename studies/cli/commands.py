"""The commands of the studies: what each one's `--help` says."""

from __future__ import annotations

from moevae.cli.groups import Command, CommandGroup

ABLATE = """Run a study: each cell of its profile with each seed, once.

What to expect:
- A run that has a record is not trained again: the same command
  resumes a study that was stopped, and trains seeds that are missing.
- At the end, results/STUDY/report.md shows the results.
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
  moevae ablate --profile mnist-quick --seeds 5
  moevae ablate --set model.num_experts=20 --dry-run
  moevae ablate --baselines kmeans,pca-gmm"""

LIST = """List the profiles that can be run, and the studies that were.

Examples:
  moevae list
  moevae list --results DIR --json"""

REPORT = """Write the report of a study from its records.

What to expect:
- Only files that a report wrote are replaced or removed; a file that was
  changed since is kept, and the report refused (--overwrite replaces it).
- A page is not replaced by one of fewer complete runs, unless --fewer-runs
  allows it.
- An index of the studies, README.md beside them, is kept up to date; it is
  written first with --index. Studies that git ignores are not in it.

Examples:
  moevae report quick
  moevae report --html"""

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
  moevae search --trials 40
  moevae search --space all --timeout 30m --workers auto
  moevae search --write-profile best.toml
  moevae ablate --profile best.toml --seeds 20"""

VERIFY = """Check a study's records, and train some of them again.

What to expect:
- Nothing is written. Each file that cannot be trusted, and is therefore
  not counted, is named.
- Exit code: 0 all agree, 1 something does not, 2 there is no such study.
- --rerun trains runs anew. On the machine that made the records, and with
  the same torch, each comes out bit for bit. Another machine rounds
  otherwise, and training makes much of that: there a run has to lie where
  one more seed would, and the difference is printed.

Examples:
  moevae verify quick
  moevae verify reference --rerun 5
  moevae verify results/quick --json"""

REBUILD = """Rebuild a study's Optuna storage from its records.

What to expect:
- The records are the truth: nothing is lost with a storage that is gone
  or broken, but for trials that a search pruned, which left no record.

Examples:
  moevae rebuild-storage quick
  moevae rebuild-storage quick --storage journal:///PATH"""

DASHBOARD = """Open a study in optuna-dashboard, in this machine's browser.

What to expect:
- The page is at 127.0.0.1 alone: it has no password, and can delete.
- A study whose storage is not there, such as one that was cloned, is
  rebuilt from its records.
- Ctrl-C ends it.

Examples:
  moevae dashboard quick
  moevae dashboard quick --port 9000"""

PACK = """Pack a finished study: its records in one file.

What to expect:
- A packed study reads like any other: report, verify, list and dashboard
  work, and ablate adds runs to it, each a file of its own until the study
  is packed again.
- The pictures that the report shows are kept, in pictures.json. The others
  are dropped: each is named, and pictures.json lists its digest.
- The new files are read back before the old ones are removed. Files that
  no record names stay.

Examples:
  moevae pack reference
  moevae unpack reference"""

UNPACK = """Unpack a study: one file for each record and picture.

What to expect:
- The files of the records are the same, byte for byte, as before packing.
- Pictures that were dropped do not come back; pictures.json lists them.

Examples:
  moevae unpack reference"""

MIGRATE = """Migrate a study of schema 1 to the names of schema 2.

What to expect:
- Settings, values, metrics and fingerprints get their names of schema 2.
  No number changes; each record keeps its old fingerprint, too.
- A new file is written and read back before the old one is removed. A
  file that cannot be trusted is named, and stays.
- Optuna's storage in the folder is set aside; the next command makes it
  from the records. For another storage, use `moevae rebuild-storage`.

Examples:
  moevae migrate results/mine"""

_OPTIONS = "studies.cli.options"

STUDIES = CommandGroup(
    title="Studies",
    description="Ablation studies of mixtures of VAEs.",
    commands=(
        Command("ablate", f"{_OPTIONS}:Ablate", ABLATE),
        Command("search", f"{_OPTIONS}:Search", SEARCH),
        Command("dashboard", f"{_OPTIONS}:Dashboard", DASHBOARD),
        Command("list", f"{_OPTIONS}:List", LIST),
        Command("report", f"{_OPTIONS}:Report", REPORT),
        Command("verify", f"{_OPTIONS}:Verify", VERIFY),
        Command("rebuild-storage", f"{_OPTIONS}:RebuildStorage", REBUILD),
        Command("pack", f"{_OPTIONS}:Pack", PACK),
        Command("unpack", f"{_OPTIONS}:Unpack", UNPACK),
        Command("migrate", f"{_OPTIONS}:Migrate", MIGRATE),
    ),
    run="studies.cli.run:run",
)
