"""The options of each command of the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from tyro.conf import Positional, UseAppendAction, arg

from moevae.cli import parser
from moevae.cli.commands import CORE
from moevae.config.registry import DATASETS, PRESETS, RELEASES


def optional(metavar: str, hint: str, words: str | None = None) -> Any:
    """Say what is meant where nothing is given; `words` stand in place of the docstring."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {hint})", help=words)


_DATA = f"Images: {', '.join((*DATASETS, *RELEASES))}, or npz:PATH for your own."
_PRESETS = f"Settings to start from: {', '.join(PRESETS)}."

# What several commands take is stated here once, with its help.
Flag = Annotated[bool, arg(help_behavior_hint="")]
Json = Annotated[
    bool,
    arg(help_behavior_hint="", help="Print one JSON document on standard output, for other programs."),
]
Device = Literal["auto", "cpu", "cuda", "mps"]
TrainDevice = Annotated[Device, arg(help="Where to train; auto takes an accelerator if there is one.")]
Settings = Annotated[tuple[str, ...], UseAppendAction, arg(metavar="KEY=VALUE")]
Memory = Annotated[
    str | None,
    optional(
        "SIZE",
        "no limit",
        "Memory limit for one forward pass of evaluation, such as 2GiB, without the weights; "
        "changes no number.",
    ),
]
Root = Annotated[
    Path | None, optional("DIR", "MOEVAE_DATA, else the user's cache", "Where the data sets are.")
]
Checkpoint = Positional[Annotated[Path, arg(metavar="CHECKPOINT", help="A file that `train` wrote.")]]
OneExpert = Annotated[
    int | None, optional("K", "all experts", "Draw this expert only; experts count from 0.")
]


@dataclass(frozen=True)
class Train:
    """What the command `train` was given."""

    data: Annotated[str | None, optional("NAME", "the preset's", _DATA)] = None
    preset: Annotated[str | None, optional("NAME", "the one named like --data, else digits", _PRESETS)] = None
    set: Settings = ()
    """Change a setting, such as objective.balance_weight=5; --dry-run shows all there are."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Seed of the one run."""
    seeds: Annotated[str | None, optional("N|A,B,..", "one run")] = None
    """Several runs: how many (3 means seeds 0 to 2), or which seeds (0,3,7)."""
    device: TrainDevice = "auto"
    data_root: Root = None
    output: Annotated[Path, arg(metavar="DIR")] = Path("runs")
    """Where checkpoints are kept."""
    force: Flag = False
    """Train again what is there already."""
    dry_run: Flag = False
    """Print the settings and fingerprints, and stop."""
    json: Json = False


@dataclass(frozen=True)
class Evaluate:
    """What the command `evaluate` was given."""

    checkpoints: Positional[
        Annotated[tuple[Path, ...], arg(metavar="CHECKPOINT", help_behavior_hint="(one or more)")]
    ]
    """Files that `train` wrote."""
    split: Literal["train", "validation", "test"] = "test"
    """Which images."""
    set: Settings = ()
    """Change a setting of data or evaluation, such as data.name=fashion-mnist."""
    device: Device = "auto"
    """Where to compute."""
    memory: Memory = None
    data_root: Root = None
    json: Json = False


@dataclass(frozen=True)
class Sample:
    """What the command `sample` was given."""

    checkpoint: Checkpoint
    expert: OneExpert = None
    count: Annotated[int, arg(metavar="N")] = 16
    """How many images of each expert."""
    seed: Annotated[int | None, optional("N", "the run's")] = None
    """Seed of the drawing."""
    scale: Annotated[int | None, optional("N", "so that an image is about 56 wide")] = None
    """Pixels of the picture for one pixel of an image."""
    output: Annotated[Path | None, optional("PICTURE.png", "beside the checkpoint")] = None
    """The picture; one that is there is replaced."""


@dataclass(frozen=True)
class Explore:
    """What the command `explore` was given."""

    checkpoint: Checkpoint
    expert: OneExpert = None
    count: Annotated[int, arg(metavar="N")] = 10
    """How many samples of each expert."""
    seed: Annotated[int | None, optional("N", "the run's")] = None
    """Seed of the samples, and of the choice of test images."""
    data_root: Root = None
    output: Annotated[Path | None, optional("FOLDER", "beside the checkpoint")] = None
    """Folder of the pictures; those that are there are replaced."""


@dataclass(frozen=True)
class Info:
    """What the command `info` was given."""

    checkpoint: Positional[Annotated[Path | None, optional("[CHECKPOINT]", "this installation")]] = None
    """A file that `train` wrote."""
    data_root: Root = None
    json: Json = False


def parse(
    arguments: Sequence[str] | None = None, prog: str = "moevae"
) -> Train | Evaluate | Sample | Explore | Info:
    """Return what was typed; `--help` prints and exits, a mistake is one line, with exit code 2."""
    return cast(Train | Evaluate | Sample | Explore | Info, parser.parse(CORE.commands, arguments, prog=prog))
