"""The commands of the studies, with the text of their `--help`."""

from __future__ import annotations

from moevae.cli.groups import Command, CommandGroup

ABLATE = """Run a study: each cell of its profile with each seed, once.

What to expect:
- A run that has a record is not trained again: the same command
  resumes a stopped study and trains missing seeds.
- The results are in results/STUDY/report.md.
- --set defines another study, named PROFILE-HASH or by --name, so that
  its records never mix with those of the profile.
- A run that fails is recorded with the reason, and the other runs
  continue; --retry-failed repeats it. Ten consecutive failures of one
  kind stop the study.
- Ctrl-C stops the study and keeps finished runs; a second Ctrl-C stops it
  immediately.
- Without --storage, MOEVAE_STORAGE is the URL of the storage. A password
  in the environment does not appear in the list of processes.
- --baselines adds rows to the report's tables: kmeans, pca-gmm, graph,
  graph-unknown (its number of clusters is found), vae-kmeans, vae-gmm,
  random-gate, oracle-experts (trained on the labels), and with
  moevae[peers] clustpy-vade and clustpy-dec (six seeds at most).
- Exit code: 0 done, 1 every run failed, 2 invalid options or data,
  130 or 143 interrupted.

Examples:
  moevae ablate --profile mnist-quick --seeds 5
  moevae ablate --set model.num_experts=20 --dry-run
  moevae ablate --baselines kmeans,pca-gmm"""

LIST = """List the built-in profiles and the studies in results.

Examples:
  moevae list
  moevae list --results DIR --json"""

REPORT = """Write the report of a study from its records.

What to expect:
- Only files written by an earlier report are replaced or removed. If such
  a file was modified, nothing is written, unless --overwrite is given.
- A page is replaced by one with fewer complete runs only with --fewer-runs.
- --index writes an index of the studies, README.md in their folder, with
  the leaderboard; later reports update it. It omits studies that git
  ignores.
- --html writes the page as one file that needs no network; its tables can
  be sorted and filtered.
- --formats and --latex are for papers. A later report without them removes
  these files, which would be of older records.
- --compare prints the reference cells of studies, or STUDY:CELL, side by
  side, and writes nothing.

Examples:
  moevae report quick
  moevae report --html
  moevae report quick --formats svg,pdf --latex
  moevae report --compare reference:1 reference:5"""

SEARCH = """Search a space for good settings with Optuna, trial by trial.

What to expect:
- Spaces: gate, training, sizes, all. --set fixes a setting and removes it
  from the space. --dry-run shows the ranges.
- Trials are compared on validation images. The default objective, the
  mixture ELBO, uses no labels; nmi, ari and acc do, and such a search is
  marked "oracle" in all reports.
- Trials that perform worse than others are pruned and leave no record;
  --pruner none disables pruning.
- Several objectives, such as mixture_elbo,throughput, give a Pareto
  front, without pruning.
- The same command resumes a stopped search; --trials counts all trials.
- Exit code: 0 done, 1 no trial is complete, 2 invalid options or data,
  130 or 143 interrupted.

Examples:
  moevae search --trials 40
  moevae search --space all --timeout 30m --workers auto
  moevae search --space all --write-profile best.toml
  moevae ablate --profile best.toml"""

LEADERBOARD = """Compare methods over all studies and literature values.

What to expect:
- A table per data set and protocol: mean ACC and NMI, the lowest run, n,
  and training minutes of one core, from the records of the studies.
- Literature values are in tables of their own, since their code, splits
  and seeds differ.
- `report` writes the same tables to README.md in the results folder.

Examples:
  moevae leaderboard
  moevae leaderboard --json"""

VERIFY = """Check a study's records, and repeat some of its runs.

What to expect:
- Nothing is written. Each invalid file is listed and not counted.
- --rerun repeats runs. On the machine of the records, with the same torch,
  the results must be bitwise equal. On other hardware rounding differs,
  and training amplifies it: the difference is printed, and must be within
  the spread over seeds.
- Exit code: 0 all checks passed, 1 a check failed, 2 study not found.

Examples:
  moevae verify quick
  moevae verify reference --rerun 5
  moevae verify results/quick --json"""

CONSENSUS = """Combine the clusterings of a cell's runs, without labels.

What to expect:
- The runs of a cell with kept weights (ablate --keep-weights all) form
  disjoint groups of consecutive seeds; incomplete groups are left out.
- Clusters are matched with those of the run with the lowest training
  loss, and the probabilities of the gates are averaged. Labels only score
  the result.
- The result is consensus.json in the study's folder. Reports show it, and
  verify compares it with the records.

Examples:
  moevae consensus deformable-mnist
  moevae consensus deformable-mnist --runs 5"""

REBUILD = """Rebuild a study's Optuna storage from its records.

What to expect:
- The records contain all results, so a missing or corrupt storage can be
  rebuilt. Only the pruned trials of a search, which have no records, are
  lost.

Examples:
  moevae rebuild-storage quick
  moevae rebuild-storage quick --storage journal:///PATH"""

DASHBOARD = """Open a study in optuna-dashboard, in this machine's browser.

What to expect:
- The page is served on 127.0.0.1 only, because it has no password and can
  delete trials.
- A missing storage, as in a cloned study, is rebuilt from the records.
- Ctrl-C stops the server.

Examples:
  moevae dashboard quick
  moevae dashboard quick --port 9000"""

PACK = """Pack the records of a finished study into one file.

What to expect:
- All commands read a packed study. New runs of ablate are separate files
  until the study is packed again.
- The pictures shown in the report are stored in pictures.json. The others
  are deleted: each is listed, and pictures.json has its digest.
- The new files are verified before the old ones are removed. Files that no
  record refers to are kept.

Examples:
  moevae pack reference
  moevae unpack reference"""

UNPACK = """Unpack a study into one file per record and picture.

What to expect:
- The files of the records are identical to those before packing.
- Deleted pictures are not restored; pictures.json lists them.

Examples:
  moevae unpack reference"""

MIGRATE = """Migrate a study of schema 1 to the names of schema 2.

What to expect:
- Settings, values, metrics and fingerprints get their names of schema 2.
  No number changes; each record also keeps its old fingerprint.
- Each new file is verified before the old one is removed. Invalid files
  are listed and kept.
- Optuna's storage in the folder is renamed, and the next command rebuilds
  it from the records. For another storage, use `moevae rebuild-storage`.

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
        Command("leaderboard", f"{_OPTIONS}:Leaderboard", LEADERBOARD),
        Command("verify", f"{_OPTIONS}:Verify", VERIFY),
        Command("consensus", f"{_OPTIONS}:Consensus", CONSENSUS),
        Command("rebuild-storage", f"{_OPTIONS}:RebuildStorage", REBUILD),
        Command("pack", f"{_OPTIONS}:Pack", PACK),
        Command("unpack", f"{_OPTIONS}:Unpack", UNPACK),
        Command("migrate", f"{_OPTIONS}:Migrate", MIGRATE),
    ),
    run="studies.cli.run:run",
)
