"""The options of each command of the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from tyro.conf import Positional, UseAppendAction, arg

from moevae.cli import parser
from moevae.cli.commands import CORE
from moevae.config.registry import DATASETS, FILE_FORMATS, PRESETS, RELEASES
from moevae.config.types import MapMethod


def optional(metavar: str, hint: str, words: str | None = None) -> Any:
    """Return the tyro argument of an option without a value by default.

    Args:
        metavar: placeholder of the value in the help.
        hint: the default, in words.
        words: help text; by default the docstring of the field.
    """
    return arg(metavar=metavar, help_behavior_hint=f"(default: {hint})", help=words)


_DATA = (
    f"Images: {', '.join((*DATASETS, *RELEASES))}; of your own, a folder of image files, or "
    f"{', '.join(f'{name}:PATH' for name in FILE_FORMATS)}."
)
_PRESETS = f"Base settings: {', '.join(PRESETS)}, or a FILE.toml written by info --write-preset."

# Options shared by several commands.
Flag = Annotated[bool, arg(help_behavior_hint="")]
Json = Annotated[
    bool,
    arg(help_behavior_hint="", help="Print one JSON document on standard output, for other programs."),
]
Device = Literal["auto", "cpu", "cuda", "mps"]
TrainDevice = Annotated[Device, arg(help="Device of training; auto uses a CUDA device if available.")]
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
    Path | None, optional("DIR", "MOEVAE_DATA, else the user's cache", "Folder of the data sets.")
]
Checkpoint = Positional[Annotated[Path, arg(metavar="CHECKPOINT", help="A file that `train` wrote.")]]
BadImages = Annotated[
    Literal["refuse", "skip"] | None,
    optional("{refuse,skip}", "refuse", "What to do with image files of a folder that cannot be read."),
]
Map = Annotated[
    MapMethod, arg(help="How the map of latents is projected; umap needs the package umap-learn.")
]
OneExpert = Annotated[int | None, optional("K", "all experts", "Draw this expert only; the first one is 0.")]


@dataclass(frozen=True)
class Train:
    """Options of `train`."""

    data: Annotated[str | None, optional("NAME", "the preset's", _DATA)] = None
    preset: Annotated[str | None, optional("NAME", "the one named like --data, else digits", _PRESETS)] = None
    on_bad_image: BadImages = None
    set: Settings = ()
    """Change a setting, such as objective.balance_weight=5; `moevae info --settings` lists all."""
    start: Annotated[
        Path | None, arg(name="from", metavar="CHECKPOINT", help_behavior_hint="(default: none)")
    ] = None
    """Continue this run: start from its weights, with its settings, on the same data."""
    epochs: Annotated[int | None, optional("N", "the preset's; needed with --from")] = None
    """Number of epochs; with --from, of additional epochs."""
    seed: Annotated[int | None, optional("N", "0; with --from, the run's")] = None
    """Seed of a single run."""
    seeds: Annotated[str | None, optional("N|A,B,..", "one run")] = None
    """Train several runs: the number of seeds (3 means 0 to 2), or a list (0,3,7)."""
    device: TrainDevice = "auto"
    data_root: Root = None
    output: Annotated[Path, arg(metavar="DIR")] = Path("runs")
    """Folder of the checkpoints."""
    cuda_graph: Flag = False
    """Record the training step as a CUDA graph and replay it; changes no number. Not with sparse routing."""
    force: Flag = False
    """Repeat runs that have a checkpoint."""
    dry_run: Flag = False
    """Print the settings and fingerprints, and stop."""
    json: Json = False


@dataclass(frozen=True)
class Evaluate:
    """Options of `evaluate`."""

    checkpoints: Positional[
        Annotated[tuple[Path, ...], arg(metavar="CHECKPOINT", help_behavior_hint="(one or more)")]
    ]
    """Files that `train` wrote."""
    split: Literal["train", "validation", "test"] = "test"
    """The split to evaluate."""
    set: Settings = ()
    """Change a setting of data or evaluation, such as data.name=fashion-mnist."""
    device: Device = "auto"
    """Device of the evaluation."""
    memory: Memory = None
    data_root: Root = None
    json: Json = False


@dataclass(frozen=True)
class Assign:
    """Options of `assign`."""

    checkpoint: Checkpoint
    images: Positional[Annotated[Path, arg(metavar="IMAGES")]]
    """A folder of image files (PNG, JPEG, BMP, TIFF), an image file, or an npz or npy file."""
    output: Annotated[Path | None, optional("TABLE", "CSV on standard output")] = None
    """The table to write: .csv, .parquet or .npz; it must not exist."""
    copy_to: Annotated[Path | None, optional("DIR", "no copies")] = None
    """A new folder for copies of the image files, with a subfolder for each expert."""
    latents: Flag = False
    """Add the latents of each image under its expert."""
    on_bad_image: BadImages = None
    device: Device = "auto"
    """Device of the computation."""
    json: Json = False


@dataclass(frozen=True)
class Sample:
    """Options of `sample`."""

    checkpoint: Checkpoint
    expert: OneExpert = None
    count: Annotated[int, arg(metavar="N")] = 16
    """Number of images of each expert."""
    seed: Annotated[int | None, optional("N", "the run's")] = None
    """Seed of the samples."""
    scale: Annotated[int | None, optional("N", "an image is about 56 pixels wide")] = None
    """Size of an image pixel in pixels of the picture."""
    output: Annotated[Path | None, optional("PICTURE.png|ARRAY.npz", "a PNG next to the checkpoint")] = None
    """A picture (.png), or an array (.npz) of images, [experts, N, H, W]; an existing file is replaced."""


@dataclass(frozen=True)
class Explore:
    """Options of `explore`."""

    checkpoint: Checkpoint
    expert: OneExpert = None
    count: Annotated[int, arg(metavar="N")] = 10
    """Number of samples of each expert."""
    seed: Annotated[int | None, optional("N", "the run's")] = None
    """Seed of the samples, and of the choice of test images."""
    map: Map = "pca"
    data_root: Root = None
    output: Annotated[Path | None, optional("FOLDER", "next to the checkpoint")] = None
    """Folder of the pictures and arrays; existing files are replaced."""


@dataclass(frozen=True)
class Info:
    """Options of `info`."""

    checkpoint: Positional[Annotated[Path | None, optional("[CHECKPOINT]", "this installation")]] = None
    """A file that `train` wrote."""
    write_preset: Annotated[Path | None, optional("PATH/OF/NEW-PRESET.toml", "none")] = None
    """Write the checkpoint's settings as a preset, for --preset FILE.toml."""
    settings: Flag = False
    """Show all settings of a run: valid values, default, meaning and papers."""
    data_root: Root = None
    json: Json = False


Options = Train | Evaluate | Assign | Sample | Explore | Info


def parse(arguments: Sequence[str] | None = None, prog: str = "moevae") -> Options:
    """Return the options of a command of `moevae`.

    Args:
        arguments: command line without the program; by default that of the process.
        prog: name of the program.

    Raises:
        SystemExit: `--help` was printed, or, with exit code 2, an error in one line.
    """
    return cast(Options, parser.parse(CORE.commands, arguments, prog=prog))
